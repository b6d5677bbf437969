//! One room at control rate: who is in it, what they may do, what they are told. `Room` is a core;
//! `room_actor` is its shell; `rooms` finds the actor of a name. Each file below owns one concern;
//! none of them blocks, sleeps or reads a clock.

mod calls;
pub mod contract;
mod data;
mod dispatch;
pub mod environment;
mod facts;
mod fallback;
mod handover;
mod ice_preference;
pub mod ice_servers;
mod image;
mod join_response;
mod joining;
pub mod journal;
pub(crate) mod leave;
mod leaving;
mod limits;
mod member;
mod metadata;
mod moves;
mod options;
mod permissions;
mod protection;
mod quality;
mod requests;
mod resume;
pub(crate) mod room_actor;
mod roster;
mod rpc;
mod simulate;
mod span;
mod speakers;
#[cfg(test)]
mod tests;
mod tracks;
mod updates;
mod webhooks;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub use contract::{
    Attach, AttachError, AttachKind, RoomCall, RoomError, RoomInput, RoomOutput, RoomReply,
    SessionId, SessionMessage, ToSession,
};
pub use environment::{
    Endpoint, JobSink, MediaCore, MediaFactory, RoomsConfig, Services, ShardSink, Shards, Sinks,
    WebhookSink,
};
pub use image::{ThawError, WarmTransports};
pub(crate) use join_response::server_info;
pub use moves::{Arrival, MoveCause};
pub use options::RoomOptions;
pub(crate) use permissions::source_name;
use protocol::proto;
use protocol::proto::DisconnectReason;
use protocol::proto::leave_request::Action;
use protocol::proto::signal_response::Message;
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;

use crate::participant::{KeySpace, MediaInput, MediaOutput, WallClock};

/// The state of one room and what it has to say.
pub struct Room {
    services: Arc<Services>,
    /// The room's part of every key.
    number: u32,
    clock: WallClock,
    /// Time of the input being handled.
    now: Instant,
    rng: ChaCha12Rng,
    facts: facts::RoomFacts,
    lifecycle: facts::Lifecycle,
    roster: roster::Roster,
    updates: updates::Updates,
    data: data::RoomData,
    rpcs: rpc::Rpcs,
    speakers: speakers::Speakers,
    quality: quality::Quality,
    /// On which shards its participants are.
    span: span::Span,
    dispatch: dispatch::Dispatches,
    ice_preferences: ice_preference::IcePreferences,
    /// Participants whose media core was fed and may have something to say.
    fed: VecDeque<u16>,
    outputs: VecDeque<RoomOutput>,
    /// What a standby is told of transports.
    protection: protection::Protection,
    /// A standby is told of it.
    following: Option<image::Following>,
    ended: bool,
    /// Another node speaks for the room.
    fenced: bool,
    handover: Option<handover::Handover>,
    /// How it came here, and to where it was before.
    moves: moves::Moves,
}

/// What a new room begins with otherwise than one from a record; the rest begins empty.
struct Founding {
    facts: facts::RoomFacts,
    lifecycle: facts::Lifecycle,
    roster: roster::Roster,
    updates: updates::Updates,
    dispatch: dispatch::Dispatches,
}

impl Room {
    /// `wall` is the time of day at `now`; `number` is the room's part of every key.
    pub fn new(
        now: Instant,
        wall: SystemTime,
        number: u32,
        options: RoomOptions,
        services: Arc<Services>,
    ) -> Self {
        let clock = WallClock::new(now, wall);
        let mut rng = generator(&services.config.seed, number, wall);
        let codecs = services.config.enabled_codecs.clone();
        let founding = Founding {
            facts: facts::RoomFacts::new(now, &clock, &options, codecs, &mut rng),
            lifecycle: facts::Lifecycle::new(now),
            roster: roster::Roster::default(),
            updates: updates::Updates::default(),
            dispatch: dispatch::Dispatches::default(),
        };
        let mut room = Self::found((now, clock), number, rng, founding, services);
        room.webhook("room_started", |_| {});
        room.dispatch_at_creation(options.agents);
        room
    }

    fn found(
        (now, clock): (Instant, WallClock),
        number: u32,
        mut rng: ChaCha12Rng,
        founding: Founding,
        services: Arc<Services>,
    ) -> Self {
        // Rooms are numbered in the order of their making: this deals them out evenly.
        let home = number as usize % services.shards.count().max(1);
        let key = KeySpace::new(number, 0).room;
        Self {
            span: span::Span::new(key, home, services.relay_ids.clone()),
            services,
            number,
            clock,
            now,
            facts: founding.facts,
            lifecycle: founding.lifecycle,
            roster: founding.roster,
            updates: founding.updates,
            data: data::RoomData::default(),
            rpcs: rpc::Rpcs::new(&mut rng),
            speakers: speakers::Speakers::default(),
            quality: quality::Quality::new(now),
            dispatch: founding.dispatch,
            ice_preferences: Default::default(),
            rng,
            fed: VecDeque::new(),
            outputs: VecDeque::new(),
            protection: Default::default(),
            following: None,
            ended: false,
            fenced: false,
            handover: None,
            moves: Default::default(),
        }
    }

    /// What time of day it is: clocks are set, and stand still in a suspended machine.
    pub fn set_clock(&mut self, now: Instant, wall: SystemTime) {
        self.clock = WallClock::new(now, wall);
    }

    pub fn handle(&mut self, now: Instant, input: RoomInput) {
        if self.ended {
            return;
        }
        self.now = self.now.max(now);
        if self.hands_over() {
            self.handle_in_handover(input);
            return;
        }
        self.note_change(&input);
        match input {
            RoomInput::Attach(attach) => self.attach(*attach),
            RoomInput::Signal { session, message } => self.request(session, *message),
            RoomInput::SessionClosed(session) => self.session_ended(session, false),
            RoomInput::SessionLost(session) => self.session_ended(session, true),
            RoomInput::Call { call, request } => self.call(call, request),
            RoomInput::Shard(event) => self.shard_event(event),
            RoomInput::Job(update) => self.job_updated(update),
            RoomInput::Stop => self.end(DisconnectReason::ServerShutdown),
            RoomInput::StandbySaid { transport, word } => self.standby_said(transport, word),
            RoomInput::ShardLost(shard) => self.shard_lost(shard),
            RoomInput::Fence { resume } => self.fence(resume),
            RoomInput::Timeout => self.timers(),
        }
        self.settle();
        self.roster.refresh_deadlines();
    }

    pub fn poll(&mut self) -> Option<RoomOutput> {
        self.outputs.pop_front()
    }

    pub fn deadline(&self) -> Option<Instant> {
        if self.ended || self.hands_over() {
            return self.handover_deadline().filter(|_| !self.ended);
        }
        let deadlines = [
            self.roster.deadline(),
            self.lifecycle.deadline(&self.facts.room),
            self.facts.deadline(),
            self.updates.deadline(),
            self.rpcs.deadline(),
            self.speakers.deadline(),
            self.quality.deadline(&self.roster),
            self.moves.deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Everything whose time has come.
    fn timers(&mut self) {
        for number in self.roster.due(self.now) {
            self.member_timers(number);
        }
        self.settle();
        self.flush_updates_if_due();
        self.room_timers();
        self.rpc_timers();
        self.speaker_timers();
        self.quality_timer();
        self.arrival_timer();
        if self
            .lifecycle
            .deadline(&self.facts.room)
            .is_some_and(|at| at <= self.now)
        {
            self.end(DisconnectReason::RoomClosed);
        }
    }

    fn member_timers(&mut self, number: u16) {
        let now = self.now;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let Some(member) = self.roster.get(number) else {
            return;
        };
        if due(member.join_deadline) {
            let leave = Some(Action::Disconnect);
            self.close_member(number, DisconnectReason::JoinFailure, leave);
        } else if due(member.close_at) {
            self.close_member(number, DisconnectReason::ConnectionTimeout, None);
        } else {
            let (media_due, refresh_due) = (due(member.media.deadline()), member.refresh_at <= now);
            if media_due {
                self.feed(number, MediaInput::Timeout);
            }
            if refresh_due {
                self.refresh_token(number);
            }
        }
    }

    /// A fact of a shard: most concern one participant's connections.
    fn shard_event(&mut self, event: media::Event) {
        let number = KeySpace::participant_of(event.subject().key());
        match &event {
            media::Event::Speakers { room, levels } => {
                let shard = KeySpace::shard_of(*room);
                self.speakers_heard(shard, levels.clone());
                return;
            }
            media::Event::Stats { transport, stats } => {
                self.transport_measured(number, *transport, stats);
            }
            media::Event::Transport { state, .. } => self.transport_changed(number, *state),
            media::Event::TakenOver { transport, heard } => {
                self.arrived_on(number, *transport, *heard);
                if !heard {
                    self.not_taken_over(number);
                }
            }
            media::Event::ChannelsLost { .. } => self.channels_lost(number),
            _ => {}
        }
        self.hear_of_protection(number, &event);
        self.feed(number, MediaInput::Shard(event));
    }

    /// Hands something to a participant's media core; [`Self::settle`] listens to the answer.
    fn feed(&mut self, number: u16, input: MediaInput) {
        let quiet = match &input {
            MediaInput::SendData { .. } => true,
            MediaInput::Shard(event) => !image::is_news(event),
            _ => false,
        };
        let member = match quiet {
            true => self.roster.glance_mut(number),
            false => self.roster.get_mut(number),
        };
        if let Some(member) = member {
            member.media.handle(self.now, input);
            self.fed.push_back(number);
        }
    }

    /// Lets the media cores say what they have to, until all are silent.
    fn settle(&mut self) {
        while let Some(number) = self.fed.pop_front() {
            while let Some(output) = self.roster.glance_mut(number).and_then(|m| m.media.poll()) {
                self.media_output(number, output);
            }
        }
    }

    fn media_output(&mut self, number: u16, output: MediaOutput) {
        match output {
            MediaOutput::Signal(message) => self.tell(number, message),
            MediaOutput::Shard(command) => {
                let restarted = match command {
                    media::Command::CloseTransport { transport } => {
                        self.unguard(transport);
                        None
                    }
                    media::Command::RestartIce { transport, .. } => Some(transport),
                    _ => None,
                };
                let outputs = &mut self.outputs;
                self.span.route(command, &mut |shard, command| {
                    outputs.push_back(RoomOutput::Shard { shard, command });
                });
                if let Some(transport) = restarted {
                    self.guard_again(transport);
                }
            }
            MediaOutput::Published(track) => self.track_published(number, track),
            MediaOutput::TrackChanged(track) => self.track_changed(number, track),
            MediaOutput::Unpublished(track) => self.track_unpublished(number, &track),
            MediaOutput::SubscriptionChanged {
                track,
                publisher,
                subscribed,
                codec,
                quality,
            } => {
                let quality = subscribed.then_some(quality);
                self.subscription_changed(number, track, &publisher, codec, quality);
            }
            MediaOutput::Connected => self.became_active(number),
            MediaOutput::DataReady => self.data_ready(number),
            MediaOutput::Data { label, payload } => self.data_received(number, &label, payload),
            MediaOutput::FullReconnect => {
                let identity = self.roster.get(number).map(|one| one.identity());
                let room = &self.facts.room.name;
                tracing::debug!(room, participant = identity, "its media cannot go on");
                let reason = DisconnectReason::StateMismatch;
                self.close_member(number, reason, Some(Action::Reconnect));
            }
            MediaOutput::TransportFailed { lived } => self.transport_failed(number, lived),
        }
    }

    /// Says something to a participant; without a WebSocket it is lost, and a resume tells all.
    fn tell(&mut self, number: u16, message: Message) {
        let Some(session) = self.roster.get(number).and_then(|member| member.session) else {
            return;
        };
        let response = proto::SignalResponse {
            message: Some(message),
        };
        self.outputs.push_back(RoomOutput::Session {
            session,
            message: SessionMessage::Signal(Box::new(response)),
        });
    }

    fn tell_all(&mut self, message: &Message) {
        for number in self.roster.numbers() {
            self.tell(number, message.clone());
        }
    }

    /// Unix time in milliseconds.
    fn unix_ms(&self) -> i64 {
        self.clock.unix_micros_at(self.now) / 1000
    }
}

/// Where a room's sids and secrets come from.
fn generator(seed: &[u8; 32], number: u32, wall: SystemTime) -> ChaCha12Rng {
    let since_epoch = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut rng = ChaCha12Rng::from_seed(*seed);
    rng.set_stream(u64::from(number));
    // A number comes back after 2^24 rooms; its sids must not.
    rng.set_word_pos(since_epoch.as_nanos() % (1 << 60));
    rng
}
