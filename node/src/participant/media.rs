//! `ParticipantMedia`: the core the room drives for each participant. Routes inputs to connections,
//! publications and subscriptions, which decide; keeps the session's milestones.

mod requests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use media::Event;
use media::event::TransportState;
use media::types::Codec;
use protocol::ids::{ParticipantSid, TrackSid};
use protocol::proto;
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;

use super::add_track;
use super::codecs;
use super::connection::Connection;
use super::contract::{
    Environment, Kinds, MediaInput, MediaOutput, ParticipantSettings, Published, StandbyPlace,
};
use super::data_channels::DataChannels;
use super::dynacast::Dynacast;
use super::offer_pacing::OfferPacing;
use super::outputs::Outputs;
use super::publications::{Publications, Stream};
use super::quirks;
use super::section_requests::SectionRequests;
use super::subscriptions::{Rules, Subscriptions};

/// One participant's media. Created with the participant, fed until `MediaInput::Close`.
#[derive(Debug)]
pub struct ParticipantMedia {
    pub(super) settings: ParticipantSettings,
    pub(super) environment: Environment,
    pub(super) rng: ChaCha12Rng,
    /// Codecs this client may publish here.
    publishable: Vec<Codec>,
    /// The connection the client offers: all of `/rtc/v1`, publishing of `/rtc`.
    pub(super) publisher: Option<Connection>,
    /// The connection we offer (`/rtc` only).
    pub(super) subscriber: Option<Connection>,
    pub(super) offers: OfferPacing,
    pub(super) sections: SectionRequests,
    pub(super) publications: Publications,
    pub(super) subscriptions: Subscriptions,
    pub(super) channels: DataChannels,
    pub(super) dynacast: Dynacast,
    pub(super) milestones: Milestones,
    /// Bandwidth the client asked to be limited to.
    pub(super) fixed_bps: Option<u64>,
    pub(super) out: Outputs,
}

/// What happened once and is told once.
#[derive(Debug, Default)]
pub(super) struct Milestones {
    /// The subscriber connection comes first: fixed when the session begins.
    pub(super) subscriber_primary: bool,
    pub(super) joined: bool,
    pub(super) connected: bool,
    pub(super) data_ready: bool,
    /// The client's first offer had no application section: there will be no data channels.
    pub(super) without_data: bool,
    pub(super) closed: bool,
    /// Its keys are used up; the room was asked to start over.
    pub(super) spent: bool,
    /// Made again on a new transport: its channels are the client's to name.
    pub(super) channels_lost: bool,
}

impl ParticipantMedia {
    pub fn new(settings: ParticipantSettings, environment: Environment) -> Self {
        let mut rng = ChaCha12Rng::from_seed(settings.seed);
        let first_offer_id = rand::RngExt::random_range(&mut rng, 1..1_000_000_000);
        let rules = Rules {
            auto_subscribe: settings.auto_subscribe,
            adaptive_stream: settings.adaptive_stream,
            can_subscribe: settings.permission.can_subscribe,
            sync_streams: settings.sync_streams && quirks::knows_synced_streams(&settings.client),
            limit_audio: settings.subscription_limit_audio,
            limit_video: settings.subscription_limit_video,
        };
        Self {
            rng,
            publishable: codecs::publishable(&settings),
            publisher: None,
            subscriber: None,
            offers: OfferPacing::new(first_offer_id),
            sections: SectionRequests::default(),
            publications: Publications::new(settings.build_red, settings.prefers_regression),
            subscriptions: Subscriptions::new(rules),
            channels: DataChannels::default(),
            dynacast: Dynacast::new(
                quirks::knows_late_messages(&settings.client),
                settings.dynacast_pause_delay,
            ),
            milestones: Milestones {
                subscriber_primary: quirks::subscriber_primary(&settings),
                ..Milestones::default()
            },
            fixed_bps: None,
            out: Outputs::new(quirks::knows_late_messages(&settings.client)),
            settings,
            environment,
        }
    }

    pub fn handle(&mut self, now: Instant, input: MediaInput) {
        if self.milestones.closed {
            return;
        }
        match input {
            MediaInput::Joined => self.joined(now),
            MediaInput::Offer(offer) => self.client_offered(now, offer),
            MediaInput::Answer(answer) => self.client_answered(now, answer),
            MediaInput::Trickle(trickle) => self.client_trickled(trickle),
            MediaInput::AddTrack(request) => self.add_track(now, request),
            MediaInput::AddTrackAgain(request) => {
                if !add_track::answered_before(&self.publications, &request, &mut self.out) {
                    self.add_track(now, request);
                }
            }
            MediaInput::Mute {
                track,
                muted,
                from_admin,
            } => {
                self.mute(now, track, muted, from_admin);
            }
            MediaInput::UpdateAudioTrack(request) => self.update_audio(now, request),
            MediaInput::UpdateVideoTrack(request) => self.update_video(now, request),
            MediaInput::SourceChanged(source) => {
                let sid = self.subscriptions.source_changed(source);
                self.reconcile(now, &[sid]);
            }
            MediaInput::SourceRemoved(track) => self.source_removed(now, &track),
            MediaInput::Subscribe { track, subscribed } => {
                self.subscriptions.wish(now, track.clone(), subscribed);
                self.reconcile(now, &[track]);
            }
            MediaInput::TrackSetting(request) => self.track_setting(now, &request),
            MediaInput::Subscriber {
                track,
                subscriber,
                codec,
                quality,
            } => {
                self.subscriber_changed(now, &track, subscriber, codec.zip(quality));
            }
            MediaInput::Permission(permission) => self.permit(now, permission),
            MediaInput::Resumed => self.resumed(now),
            MediaInput::Sources(sources) => self.sources_known(now, sources),
            MediaInput::Rebound => self.rebound(now),
            MediaInput::SyncState(state) => self.sync_state(now, state),
            MediaInput::SendData { label, payload } => self.send_data(label, payload),
            MediaInput::SendAgain(payloads) => self.send_again(payloads),
            MediaInput::SwitchCandidateProtocol(protocol) => self.switch_protocol(now, protocol),
            MediaInput::PreferRegression(prefer) => {
                let micros = self.micros(now);
                self.publications
                    .prefer_regression(prefer, micros, &mut self.out);
            }
            MediaInput::LimitBandwidth(bps) => self.limit_bandwidth(bps),
            MediaInput::Shard(event) => self.shard_event(now, event),
            MediaInput::StandbyAt { transport, standby } => self.standby_at(transport, &standby),
            MediaInput::Close => self.close(),
            MediaInput::Timeout => {}
        }
        self.run_timers(now);
        if self.environment.keys.is_spent() && !self.milestones.spent && !self.milestones.closed {
            self.milestones.spent = true;
            self.out.push(MediaOutput::FullReconnect);
        }
    }

    /// Drained after every `handle`.
    pub fn poll(&mut self) -> Option<MediaOutput> {
        self.out.pop()
    }

    /// When to call `handle(now, MediaInput::Timeout)`.
    pub fn deadline(&self) -> Option<Instant> {
        let connected = self
            .subscriber
            .as_ref()
            .is_some_and(Connection::is_connected);
        let offers = self
            .subscriber
            .as_ref()
            .and_then(|_| self.offers.deadline(connected));
        let others = [
            self.sections.deadline(),
            self.subscriptions.deadline(),
            self.dynacast.deadline(),
        ];
        others.into_iter().flatten().chain(offers).min()
    }

    /// The current TrackInfo of a published or a pending track.
    pub fn track(&self, sid: &TrackSid) -> Option<Arc<proto::TrackInfo>> {
        self.publications.info(sid.as_str()).cloned().map(Arc::new)
    }

    /// Tracks this participant receives now.
    pub fn subscribed_tracks(&self) -> Vec<TrackSid> {
        self.subscriptions.bound().cloned().collect()
    }

    /// Receives at least one track of that publisher: speaker and quality updates go to it.
    pub fn subscribes_to(&self, publisher: &ParticipantSid) -> bool {
        self.subscriptions.subscribes_to(publisher)
    }

    /// Everybody `subscribes_to` is true for.
    pub fn publishers(&self) -> BTreeSet<ParticipantSid> {
        self.subscriptions.publishers()
    }

    /// Tracks being received, audio and video.
    pub fn subscribed(&self) -> Kinds {
        self.subscriptions.count()
    }

    /// Tracks that others may know of, in the order of their publishing.
    pub fn published(&self) -> Vec<Published> {
        self.publications.published()
    }

    pub fn permission(&self) -> &proto::ParticipantPermission {
        &self.settings.permission
    }

    /// Its transports, and whether each is connected.
    pub fn transports(&self) -> Vec<(media::TransportKey, bool)> {
        let connections = self.publisher.iter().chain(&self.subscriber);
        connections
            .map(|connection| (connection.key, connection.is_connected()))
            .collect()
    }

    fn standby_at(&mut self, transport: media::TransportKey, standby: &StandbyPlace) {
        let mut connections = self.publisher.iter().chain(&self.subscriber);
        if let Some(connection) = connections.find(|connection| connection.key == transport) {
            let primary = &self.environment.candidates;
            connection.trickle_standby(primary, standby, &mut self.out);
        }
    }

    /// Unix time of `now`, in microseconds.
    pub(super) fn micros(&self, now: Instant) -> i64 {
        self.environment.clock.unix_micros_at(now)
    }

    /// The connection whose state and channels the session stands for.
    pub(super) fn primary(&self) -> Option<&Connection> {
        if self.milestones.subscriber_primary {
            self.subscriber.as_ref()
        } else {
            self.publisher.as_ref()
        }
    }

    fn joined(&mut self, now: Instant) {
        self.milestones.joined = true;
        if self.milestones.subscriber_primary {
            self.open_subscriber(now);
        }
    }

    fn add_track(&mut self, now: Instant, request: proto::AddTrackRequest) {
        add_track::add_track(
            &mut self.publications,
            request,
            &self.settings.permission,
            &self.publishable,
            &mut self.rng,
            &mut self.out,
        );
        self.claim_sections(now);
    }

    /// Requests that waited for a cid to become free.
    pub(super) fn add_queued_tracks(&mut self, now: Instant) {
        while let Some(request) = self.publications.unqueue() {
            self.add_track(now, request);
        }
    }

    fn resumed(&mut self, now: Instant) {
        self.restart_subscriber(now);
        self.dynacast.tell_again(&mut self.out);
    }

    fn send_again(&mut self, payloads: Vec<Bytes>) {
        let transport = self.primary().map(|connection| connection.key);
        self.channels.send_first(transport, payloads, &mut self.out);
    }

    fn send_data(&mut self, label: &'static str, payload: Bytes) {
        let transport = self.primary().map(|connection| connection.key);
        self.channels.send(transport, label, payload, &mut self.out);
    }

    fn shard_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Transport { transport, state } => self.transport_changed(now, transport, state),
            Event::ChannelOpen { transport, label }
                if self
                    .primary()
                    .is_some_and(|primary| primary.key == transport) =>
            {
                self.channels.opened(transport, &label, &mut self.out);
                self.reach_milestones();
            }
            Event::ChannelClosed { transport, label }
                if self
                    .primary()
                    .is_some_and(|primary| primary.key == transport) =>
            {
                self.channels.closed(&label);
            }
            Event::Data { label, payload, .. } => {
                self.out.push(MediaOutput::Data { label, payload });
            }
            Event::TrackStarted { track, codec, .. } => {
                let micros = self.micros(now);
                self.publications
                    .started(track, codec, micros, &mut self.out);
            }
            Event::StreamLearned {
                track,
                layer,
                ssrc,
                repair,
            } => {
                let stream = Stream {
                    ssrc,
                    layer,
                    repair,
                };
                self.publications.learned(track, stream);
            }
            Event::StreamPaused { down_track, paused } => self.stream_paused(down_track, paused),
            _ => {}
        }
    }

    fn transport_changed(
        &mut self,
        now: Instant,
        transport: media::TransportKey,
        state: TransportState,
    ) {
        let micros = self.micros(now);
        let publisher = self.publisher.as_mut().filter(|c| c.key == transport);
        let lived = if let Some(publisher) = publisher {
            publisher.set_state(now, state);
            if publisher.was_connected() {
                self.publications.show(micros, &mut self.out);
            }
            publisher.lived(now)
        } else if let Some(subscriber) = self.subscriber.as_mut().filter(|c| c.key == transport) {
            subscriber.set_state(now, state);
            subscriber.lived(now)
        } else {
            return;
        };
        if state == TransportState::Failed {
            self.out.push(MediaOutput::TransportFailed { lived });
        }
        self.reach_milestones();
    }

    fn reach_milestones(&mut self) {
        if !self.milestones.connected && self.primary().is_some_and(Connection::was_connected) {
            self.milestones.connected = true;
            self.out.push(MediaOutput::Connected);
        }
        let channels = self.milestones.without_data || self.channels.ready();
        if !self.milestones.data_ready && self.milestones.connected && channels {
            self.milestones.data_ready = true;
            self.out.push(MediaOutput::DataReady);
        }
    }

    fn close(&mut self) {
        self.milestones.closed = true;
        self.subscriptions.rules.can_subscribe = false;
        for sid in self.subscriptions.sids() {
            self.stop_subscription(&sid);
        }
        for track in self.publications.iter().flat_map(|track| &track.codecs) {
            self.out
                .command(media::Command::RemoveTrack { track: track.key });
        }
        for connection in self.publisher.iter().chain(&self.subscriber) {
            connection.close(&mut self.out);
        }
        self.offers = OfferPacing::new(1);
        self.sections = SectionRequests::default();
        self.dynacast = Dynacast::new(false, Duration::ZERO);
    }

    fn run_timers(&mut self, now: Instant) {
        if self.milestones.closed {
            return;
        }
        self.offer_when_due(now);
        self.request_sections_when_due(now);
        self.subscriptions.expire(now, &mut self.out);
        self.dynacast.timeout(now, &mut self.out);
    }

    /// The publisher's client ended these tracks.
    pub(super) fn forget_publications(&mut self) {
        let gone: Vec<TrackSid> = self
            .dynacast
            .sids()
            .filter(|sid| self.publications.get(sid.as_str()).is_none())
            .cloned()
            .collect();
        for sid in gone {
            self.dynacast.remove(&sid);
        }
    }
}
