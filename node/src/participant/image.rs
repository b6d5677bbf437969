//! A participant's media core as a value: written down for a standby, and made again there. A
//! thawed core tells its shard everything anew; then the room gives it the sources of what it
//! subscribes to.

mod negotiation;
pub mod records;

use std::time::Instant;

use media::negotiate::Negotiator;
pub use media::negotiate::ThawKind;
use media::types::{Codec, MediaKind};
use protocol::proto;

use self::records::{ConnectionRecord, MediaRecord, session};
use super::codecs;
use super::connection::Connection;
use super::contract::{Environment, KeySpace, ParticipantSettings, WallClock};
use super::media::{Milestones, ParticipantMedia};

/// What a media core is made from again.
#[derive(Clone, Debug)]
pub struct MediaImage {
    pub record: MediaRecord,
    pub kind: ThawKind,
    pub now: Instant,
    /// Turns the record's times into instants.
    pub clock: WallClock,
}

/// Gives keys of records their room's part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rekey {
    room: u64,
}

impl Rekey {
    pub(super) fn key(self, low: u64) -> u64 {
        self.room | KeySpace::within_room(low)
    }
}

/// A key as records have it.
pub(super) fn low(key: u64) -> u64 {
    KeySpace::within_room(key)
}

fn bits(facts: &[(bool, u32)]) -> u32 {
    let set = facts.iter().filter(|(set, _)| *set);
    set.fold(0, |all, (_, bit)| all | bit)
}

pub(super) fn kind_of(video: bool) -> MediaKind {
    match video {
        true => MediaKind::Video,
        false => MediaKind::Audio,
    }
}

/// In records; 0 is none.
pub(super) fn codec_number(codec: Codec) -> u32 {
    match codec {
        Codec::Opus => 1,
        Codec::Red => 2,
        Codec::Pcmu => 3,
        Codec::Pcma => 4,
        Codec::Vp8 => 5,
        Codec::Vp9 => 6,
        Codec::H264 => 7,
        Codec::H265 => 8,
        Codec::Av1 => 9,
    }
}

pub(super) fn codec_of(number: u32) -> Option<Codec> {
    Some(match number {
        1 => Codec::Opus,
        2 => Codec::Red,
        3 => Codec::Pcmu,
        4 => Codec::Pcma,
        5 => Codec::Vp8,
        6 => Codec::Vp9,
        7 => Codec::H264,
        8 => Codec::H265,
        9 => Codec::Av1,
        _ => return None,
    })
}

impl MediaRecord {
    /// First character of its username fragments: names the shard it was on.
    pub fn ufrag_prefix(&self) -> Option<char> {
        let connections = [&self.publisher, &self.subscriber].into_iter().flatten();
        let negotiators = connections.filter_map(|one| one.negotiator.as_ref());
        negotiators
            .filter_map(|one| one.ufrag.chars().next())
            .next()
    }

    /// Its transports, without their room's part.
    pub fn transports(&self) -> impl Iterator<Item = u64> {
        let connections = [&self.publisher, &self.subscriber].into_iter().flatten();
        connections.map(|connection| connection.key)
    }

    fn has(&self, bit: u32) -> bool {
        self.session & bit != 0
    }
}

impl ParticipantMedia {
    /// What is to be written down of it. `clock` has to be the same every time, or times move.
    pub fn image(&self, clock: &WallClock) -> MediaRecord {
        let (asked, requests) = self.sections.asked();
        let (next_offer, outstanding_offer) = self.offers.ids();
        let mut record = MediaRecord {
            session: self.session_bits() | requests,
            keys: self.environment.keys.issued(),
            fixed_bps: self.fixed_bps,
            publisher: self
                .publisher
                .as_ref()
                .map(|one| connection_record(one, clock)),
            subscriber: self
                .subscriber
                .as_ref()
                .map(|one| connection_record(one, clock)),
            next_offer,
            outstanding_offer,
            asked_audios: asked.audios,
            asked_videos: asked.videos,
            subscriptions: self.subscriptions.image(clock),
            dynacast: self.dynacast.image(clock),
            ..Default::default()
        };
        self.publications.image(&mut record);
        record
    }

    fn session_bits(&self) -> u32 {
        let (settings, milestones) = (&self.settings, &self.milestones);
        bits(&[
            (settings.auto_subscribe, session::AUTO_SUBSCRIBE),
            (settings.adaptive_stream, session::ADAPTIVE_STREAM),
            (settings.allow_pause, session::ALLOW_PAUSE),
            (milestones.subscriber_primary, session::SUBSCRIBER_PRIMARY),
            (milestones.joined, session::JOINED),
            (milestones.connected, session::CONNECTED),
            (milestones.data_ready, session::DATA_READY),
            (milestones.without_data, session::WITHOUT_DATA),
            (milestones.spent, session::SPENT),
        ])
    }

    /// Goes on from an image; what it says next is what its shard has to be told. Of `settings`,
    /// the session's own are the image's. `environment.keys` issues the next ones.
    pub fn thaw(
        mut settings: ParticipantSettings,
        environment: Environment,
        image: MediaImage,
    ) -> Self {
        let MediaImage {
            record,
            kind,
            now,
            clock,
        } = image;
        settings.auto_subscribe = record.has(session::AUTO_SUBSCRIBE);
        settings.adaptive_stream = record.has(session::ADAPTIVE_STREAM);
        settings.allow_pause = record.has(session::ALLOW_PAUSE);
        let rekey = Rekey {
            room: environment.room.0,
        };
        let mut media = Self::new(settings, environment);
        media.milestones = Milestones {
            subscriber_primary: record.has(session::SUBSCRIBER_PRIMARY),
            joined: record.has(session::JOINED),
            connected: record.has(session::CONNECTED),
            data_ready: record.has(session::DATA_READY),
            without_data: record.has(session::WITHOUT_DATA),
            spent: record.has(session::SPENT),
            closed: false,
            channels_lost: kind == ThawKind::Cold,
        };
        media.fixed_bps = record.fixed_bps;
        media.publications.thaw(&record, rekey);
        media
            .subscriptions
            .thaw(&record.subscriptions, &clock, rekey);
        media.dynacast.thaw(&record.dynacast, &clock);
        media.sections.thaw(&record);
        media.thaw_connections(now, record, kind, &clock, rekey);
        media
    }

    fn thaw_connections(
        &mut self,
        now: Instant,
        record: MediaRecord,
        kind: ThawKind,
        clock: &WallClock,
        rekey: Rekey,
    ) {
        let outstanding = match kind {
            ThawKind::Warm => record.outstanding_offer,
            ThawKind::Cold => 0,
        };
        self.offers.thaw(now, record.next_offer, outstanding);
        if let Some(record) = record.publisher {
            let connection = self.thaw_connection(record, kind, clock, rekey, false);
            self.publisher = Some(connection);
        }
        if let Some(record) = record.subscriber {
            let connection = self.thaw_connection(record, kind, clock, rekey, true);
            self.subscriber = Some(connection);
        }
        self.set_bandwidth_policy();
        if let Some(publisher) = &mut self.publisher {
            let (transport, room) = (publisher.key, self.environment.room);
            self.publications.tell_again(transport, room, &mut self.out);
            let publications = &self.publications;
            let explain = |sections: &mut [_]| publications.explain(sections);
            publisher.tell_receive_again(explain, &mut self.out);
        }
    }

    fn thaw_connection(
        &mut self,
        record: ConnectionRecord,
        kind: ThawKind,
        clock: &WallClock,
        rekey: Rekey,
        subscriber: bool,
    ) -> Connection {
        use media::negotiate::{PeerRole, candidates_after};
        let (role, target) = match (subscriber, self.settings.single_peer_connection) {
            (true, _) => (PeerRole::Subscriber, proto::SignalTarget::Subscriber),
            (false, true) => (PeerRole::Single, proto::SignalTarget::Publisher),
            (false, false) => (PeerRole::Publisher, proto::SignalTarget::Publisher),
        };
        let mut config = codecs::negotiator_config(role, &self.settings, &self.environment);
        let takeovers = record.takeovers_after(kind);
        config.candidates = candidates_after(takeovers, &config.candidates);
        let image = negotiation::image(record.negotiator.clone().unwrap_or_default(), rekey);
        // It knows this node's certificate, perhaps from before the room went elsewhere and back.
        let spare = self.environment.spare.clone();
        let spare = spare.filter(|_| image.fingerprint == config.fingerprint);
        let is_spare = spare.is_some();
        if let Some(spare) = spare {
            config.fingerprint = spare;
        }
        let negotiator = Negotiator::thaw(config, image, kind);
        let key = media::TransportKey(rekey.key(record.key));
        let room = self.environment.room;
        let frozen = (&record, clock);
        let kind = (kind, is_spare);
        Connection::thaw(key, target, negotiator, frozen, kind, room, &mut self.out)
    }
}

fn connection_record(connection: &Connection, clock: &WallClock) -> ConnectionRecord {
    ConnectionRecord {
        key: low(connection.key.0),
        negotiator: Some(negotiation::record(&connection.negotiator.image())),
        ..connection.record(clock)
    }
}
