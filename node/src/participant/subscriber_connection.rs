//! Subscriptions on their way to the client: the connection the server offers (`/rtc`), and on
//! `/rtc/v1` the request for an offer of the client. One place decides which of the two it is.

use std::time::Instant;

use media::negotiate::PeerRole;
use media::types::{Protocol, Reliability};
use media::{Command, DownTrackKey};
use protocol::ids::TrackSid;
use protocol::proto;
use protocol::proto::signal_response::Message;

use super::codecs;
use super::connection::Connection;
use super::contract::{Environment, MediaOutput, Source};
use super::data_channels::{self, DATA_TRACK, LOSSY, RELIABLE};
use super::limits::{CHANNELS_NAMED_MAX, SDP_BYTES_MAX};
use super::media::ParticipantMedia;
use super::subscriptions::Carrier;

impl ParticipantMedia {
    /// Makes the connection we offer, with the channels data comes to the client on, and offers it.
    pub(super) fn open_subscriber(&mut self, now: Instant) {
        if self.subscriber.is_some() || self.settings.single_peer_connection {
            return;
        }
        let role = PeerRole::Subscriber;
        let config = codecs::negotiator_config(role, &self.settings, &self.environment);
        let target = proto::SignalTarget::Subscriber;
        let connection = Connection::open(target, config, &self.environment, &mut self.out);
        self.subscriber = Some(connection);
        self.open_channels();
        self.set_bandwidth_policy();
        self.start_waiting_subscriptions();
        self.offers.request_now(now);
    }

    /// Opens the channels that data comes to the client on, if they are ours to open.
    pub(super) fn open_channels(&mut self) {
        let Some(subscriber) = &self.subscriber else {
            return;
        };
        if !self.milestones.subscriber_primary {
            return;
        }
        for (label, reliability) in [
            (RELIABLE, Reliability::Reliable),
            (LOSSY, Reliability::Lossy),
            (DATA_TRACK, Reliability::Lossy),
        ] {
            let (transport, label) = (subscriber.key, label.to_owned());
            self.out.command(Command::OpenChannel {
                transport,
                label,
                reliability,
            });
        }
    }

    /// After a thaw: a client keeps its channels when its transport is another, and tells their
    /// streams. Those it has none of are opened anew.
    pub(super) fn adopt_channels(&mut self, channels: &[proto::DataChannelInfo]) {
        if !std::mem::take(&mut self.milestones.channels_lost) {
            return;
        }
        let single = self.settings.single_peer_connection;
        for (connection, target) in [
            (&self.publisher, proto::SignalTarget::Publisher),
            (&self.subscriber, proto::SignalTarget::Subscriber),
        ] {
            let Some(transport) = connection.as_ref().map(|connection| connection.key) else {
                continue;
            };
            let here = channels.iter().take(CHANNELS_NAMED_MAX);
            let here = here.filter(|one| single || one.target == target as i32);
            for (stream, label) in data_channels::known(here) {
                let reliability = match label {
                    RELIABLE => Reliability::Reliable,
                    _ => Reliability::Lossy,
                };
                let label = label.to_owned();
                self.out.command(Command::AdoptChannel {
                    transport,
                    stream,
                    label,
                    reliability,
                });
            }
        }
        // Those that were adopted are left alone.
        self.open_channels();
    }

    /// Brings these subscriptions to where they are wanted, and has the client negotiate.
    pub(super) fn reconcile(&mut self, now: Instant, sids: &[TrackSid]) {
        let may = self.subscriptions.rules.can_subscribe;
        if self.milestones.joined && may {
            self.open_subscriber(now);
        }
        let mut changed = self.reconcile_each(sids);
        if changed && self.subscriptions.rules.limited() {
            // What ended makes room for what waits.
            changed |= self.reconcile_each(&self.subscriptions.sids());
        }
        if changed {
            self.negotiate(now);
        }
    }

    pub(super) fn source_removed(&mut self, now: Instant, sid: &TrackSid) {
        if self.stop_subscription(sid) {
            self.negotiate(now);
            if self.subscriptions.rules.limited() {
                self.reconcile(now, &self.subscriptions.sids());
            }
        }
    }

    /// Forgets a subscription. `true`: the client must be told by a description.
    pub(super) fn stop_subscription(&mut self, sid: &TrackSid) -> bool {
        let single = self.settings.single_peer_connection;
        let connection = carrying(single, &mut self.publisher, &mut self.subscriber);
        let mut carrier = connection.map(|connection| carrier(connection, &self.environment));
        self.subscriptions
            .remove(sid, carrier.as_mut(), &mut self.out)
    }

    /// The connection that carries subscriptions exists now: the description that follows has what
    /// is wanted already.
    pub(super) fn start_waiting_subscriptions(&mut self) {
        self.reconcile_each(&self.subscriptions.sids());
    }

    /// The client agreed to a description: down tracks of its sections begin.
    pub(super) fn senders_negotiated(&mut self, refused: &[DownTrackKey]) {
        let single = self.settings.single_peer_connection;
        let connection = carrying(single, &mut self.publisher, &mut self.subscriber);
        if let Some(connection) = connection {
            let mut carrier = carrier(connection, &self.environment);
            self.subscriptions
                .negotiated(&mut carrier, refused, &mut self.out);
        }
    }

    /// The client's answer to our offer. One to an older offer, or that cannot be read, is ignored.
    pub(super) fn client_answered(&mut self, now: Instant, answer: proto::SessionDescription) {
        let expected = self.offers.outstanding_id();
        let stale = answer.id != 0 && Some(answer.id) != expected;
        let Some(subscriber) = self.subscriber.as_mut() else {
            return;
        };
        if stale || answer.sdp.len() > SDP_BYTES_MAX {
            tracing::debug!(id = answer.id, ?expected, "answer ignored");
            return;
        }
        let accepted = match subscriber.negotiator.accept_answer(&answer.sdp) {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "answer refused");
                return;
            }
        };
        subscriber.apply_remote(accepted.remote, &mut self.out);
        self.senders_negotiated(&accepted.refused);
        self.offers.answered(now);
        if self
            .subscriber
            .as_ref()
            .is_some_and(|c| c.negotiator.needs_negotiation())
        {
            self.offers.request(now);
        }
    }

    /// A new WebSocket: what was offered on the old one is lost, and the network may be another.
    pub(super) fn restart_subscriber(&mut self, now: Instant) {
        if let Some(subscriber) = self.subscriber.as_mut() {
            subscriber.negotiator.roll_back_offer();
            subscriber.want_restart();
            self.offers.request_now(now);
        }
    }

    /// After a thaw: all that others publish. What was forwarded goes on, what has no source any
    /// more ends, what is new is subscribed as ever.
    pub(super) fn sources_known(&mut self, now: Instant, sources: Vec<Source>) {
        let single = self.settings.single_peer_connection;
        let gone = self.subscriptions.seat(sources);
        let connection = carrying(single, &mut self.publisher, &mut self.subscriber);
        if let Some(connection) = connection {
            let mut carrier = carrier(connection, &self.environment);
            self.subscriptions.go_on(&mut carrier, &mut self.out);
        }
        for sid in gone {
            self.source_removed(now, &sid);
        }
        self.reconcile(now, &self.subscriptions.sids());
        self.negotiate_if_stale(now);
    }

    /// The client noticed nothing, but what was under way may have died with the other node.
    pub(super) fn rebound(&mut self, now: Instant) {
        if self.offers.outstanding_id().is_some()
            && let Some(subscriber) = self.subscriber.as_mut()
        {
            subscriber.negotiator.roll_back_offer();
            self.offers.request_now(now);
        }
        self.sections.ask_again(now);
        self.negotiate_if_stale(now);
    }

    fn negotiate_if_stale(&mut self, now: Instant) {
        let single = self.settings.single_peer_connection;
        let connection = carrying(single, &mut self.publisher, &mut self.subscriber);
        if connection.is_some_and(|one| one.negotiator.needs_negotiation()) {
            self.negotiate(now);
        }
    }

    /// Simulated by clients: from now on only candidates of one protocol.
    pub(super) fn switch_protocol(&mut self, now: Instant, wanted: proto::CandidateProtocol) {
        let protocol = match wanted {
            proto::CandidateProtocol::Udp => Protocol::Udp,
            proto::CandidateProtocol::Tcp | proto::CandidateProtocol::Tls => Protocol::Tcp,
        };
        for connection in self.publisher.iter_mut().chain(&mut self.subscriber) {
            connection.restrict_candidates(protocol, &self.environment);
        }
        self.restart_subscriber(now);
    }

    pub(super) fn offer_when_due(&mut self, now: Instant) {
        let connected = self
            .subscriber
            .as_ref()
            .is_some_and(Connection::is_connected);
        if connected && self.offers.answer_overdue(now) {
            self.offers.abandon();
            self.out.push(MediaOutput::FullReconnect);
            return;
        }
        if self.subscriber.is_none() {
            return;
        }
        if let Some(id) = self.offers.take_due(now) {
            self.offer(id);
        }
    }

    fn offer(&mut self, id: u32) {
        let Some(subscriber) = self.subscriber.as_mut() else {
            return;
        };
        let restart = subscriber.take_restart();
        let offer = match subscriber.negotiator.create_offer(restart) {
            Ok(offer) => offer,
            Err(error) => {
                tracing::warn!(%error, "no offer can be written");
                self.offers.abandon();
                return;
            }
        };
        if restart {
            subscriber.restart_ice(&mut self.out);
        }
        let mid_to_track_id = self.track_ids(&offer.senders);
        self.out.signal(Message::Offer(proto::SessionDescription {
            r#type: "offer".to_owned(),
            sdp: offer.sdp,
            id,
            mid_to_track_id,
        }));
        if let Some(subscriber) = self.subscriber.as_mut() {
            subscriber.trickle_out(&mut self.out);
        }
    }

    /// The next answer must carry something new: ask for an offer if one is lacking.
    pub(super) fn request_sections(&mut self, now: Instant) {
        let lacking = self.publisher.as_ref().is_some_and(|publisher| {
            let negotiator = &publisher.negotiator;
            negotiator.sections_required().is_some() || negotiator.needs_negotiation()
        });
        if lacking {
            self.sections.request(now);
        }
    }

    pub(super) fn request_sections_when_due(&mut self, now: Instant) {
        let Some(publisher) = self.publisher.as_ref() else {
            return;
        };
        let required = publisher.negotiator.sections_required();
        let stale = publisher.negotiator.needs_negotiation();
        if let Some(ask) = self.sections.take_due(now, required, stale) {
            let requirement = proto::MediaSectionsRequirement {
                num_audios: ask.audios,
                num_videos: ask.videos,
            };
            self.out
                .signal(Message::MediaSectionsRequirement(requirement));
        }
    }

    fn negotiate(&mut self, now: Instant) {
        if self.settings.single_peer_connection {
            self.request_sections(now);
        } else {
            self.offers.request(now);
        }
    }

    fn reconcile_each(&mut self, sids: &[TrackSid]) -> bool {
        let single = self.settings.single_peer_connection;
        let connection = carrying(single, &mut self.publisher, &mut self.subscriber);
        let Some(connection) = connection else {
            return false;
        };
        let mut carrier = carrier(connection, &self.environment);
        let mut changed = false;
        for sid in sids {
            changed |= self
                .subscriptions
                .reconcile(sid, &mut carrier, &mut self.out);
        }
        changed
    }
}

/// The connection that carries what this participant receives.
fn carrying<'a>(
    single: bool,
    publisher: &'a mut Option<Connection>,
    subscriber: &'a mut Option<Connection>,
) -> Option<&'a mut Connection> {
    if single {
        publisher.as_mut()
    } else {
        subscriber.as_mut()
    }
}

fn carrier<'a>(connection: &'a mut Connection, environment: &'a Environment) -> Carrier<'a> {
    Carrier {
        transport: connection.key,
        negotiator: &mut connection.negotiator,
        keys: &environment.keys,
    }
}
