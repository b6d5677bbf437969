//! What goes in and out of a participant's media core. Signal messages stay in LiveKit's protobuf
//! here: their fields are what the rules of the surface are written in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use media::types::{Codec, Fingerprint, LocalCandidate, PlayoutDelay};
use media::{Command, DownTrackKey, Event, RoomKey, TrackKey, TransportKey};
use protocol::ids::{ParticipantSid, TrackSid};
use protocol::proto;

/// Fixed facts of one participant's session.
#[derive(Clone, Debug)]
pub struct ParticipantSettings {
    pub sid: ParticipantSid,
    pub identity: String,
    pub client: proto::ClientInfo,
    /// `/rtc/v1`: the client offers, one peer connection carries both directions.
    pub single_peer_connection: bool,
    /// Tracks of others are subscribed without being asked for.
    pub auto_subscribe: bool,
    pub adaptive_stream: bool,
    /// Adapt what is sent to the client's bandwidth.
    pub congestion_control: bool,
    /// The allocator may pause video for lack of bandwidth.
    pub allow_pause: bool,
    pub permission: proto::ParticipantPermission,
    /// Codecs the room enables, in order of preference.
    pub enabled_codecs: Vec<proto::Codec>,
    /// Appended to frames injected into encrypted tracks; random per room.
    pub sif_trailer: Vec<u8>,
    /// Tracks of one source share a media stream.
    pub sync_streams: bool,
    /// Bounds of what the client holds media back by; `None` = its own.
    pub playout_delay: Option<PlayoutDelay>,
    /// How long a quality nobody wants goes on before the publisher may stop it.
    pub dynacast_pause_delay: Duration,
    /// Opus published without RED is sent as RED to subscribers that take RED.
    pub build_red: bool,
    /// See [`MediaInput::PreferRegression`].
    pub prefers_regression: bool,
    /// 0 = no limit.
    pub subscription_limit_video: u32,
    pub subscription_limit_audio: u32,
    /// Seed of ICE credentials, SSRCs, sids and offer ids.
    pub seed: [u8; 32],
}

/// Tracks by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    pub audio: u32,
    pub video: u32,
}

impl Kinds {
    pub fn sum(self) -> u64 {
        u64::from(self.audio) + u64::from(self.video)
    }
}

impl std::ops::AddAssign for Kinds {
    fn add_assign(&mut self, other: Kinds) {
        self.audio = self.audio.saturating_add(other.audio);
        self.video = self.video.saturating_add(other.video);
    }
}

/// Issues the keys of the packet plane. Clones share one counter. A key is unique in the process,
/// because rooms share shards: [`KeySpace::allocator`] makes one for each participant.
#[derive(Clone, Debug, Default)]
pub struct KeyAllocator(Arc<AtomicU64>);

impl KeyAllocator {
    pub fn transport(&self) -> TransportKey {
        TransportKey(self.next())
    }

    pub fn track(&self) -> TrackKey {
        TrackKey(self.next())
    }

    pub fn down_track(&self) -> DownTrackKey {
        DownTrackKey(self.next())
    }

    /// Few keys are left: the next ones would be somebody else's before long.
    pub fn is_spent(&self) -> bool {
        let used = self.0.load(Ordering::Relaxed) & ((1 << KeySpace::PARTICIPANT_SHIFT) - 1);
        used >= (1 << KeySpace::PARTICIPANT_SHIFT) - KeySpace::RESERVE
    }

    /// How many were issued: what [`KeySpace::allocator_after`] goes on from.
    pub fn issued(&self) -> u32 {
        let used = self.0.load(Ordering::Relaxed) & ((1 << KeySpace::PARTICIPANT_SHIFT) - 1);
        used as u32
    }

    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// The keys of one participant. Their upper bits name its room and itself, so a fact of a shard
/// finds its way back without a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpace {
    pub room: RoomKey,
    first: u64,
}

impl KeySpace {
    const PARTICIPANT_SHIFT: u32 = 24;
    pub(crate) const ROOM_SHIFT: u32 = 40;
    /// Keys held back for the one input in whose course the others run out.
    const RESERVE: u64 = 1 << 16;

    /// Space of the participant with the number `participant` in the room with the number `room`
    /// (below 2^24). 2^24 keys fit; who has used them up starts over with a new number.
    pub fn new(room: u32, participant: u16) -> Self {
        let base = u64::from(room) << Self::ROOM_SHIFT;
        let first = base | u64::from(participant) << Self::PARTICIPANT_SHIFT;
        Self {
            room: RoomKey(base),
            first,
        }
    }

    /// Issues the keys of this space.
    pub fn allocator(self) -> KeyAllocator {
        KeyAllocator(Arc::new(AtomicU64::new(self.first)))
    }

    /// The same when `issued` of them are out already, in the name of another room number.
    pub fn allocator_after(self, issued: u32) -> KeyAllocator {
        let issued = u64::from(issued) & ((1 << Self::PARTICIPANT_SHIFT) - 1);
        KeyAllocator(Arc::new(AtomicU64::new(self.first + issued)))
    }

    /// A key without the part that names its room: it stays the same when the room moves.
    pub fn within_room(key: u64) -> u64 {
        key & ((1 << Self::ROOM_SHIFT) - 1)
    }

    /// The part of a room that is on one shard: shards tell facts about it by this key.
    pub fn room_on(room: RoomKey, shard: usize) -> RoomKey {
        RoomKey(room.0 | shard as u64)
    }

    /// The shard that a key of [`Self::room_on`] names.
    pub fn shard_of(room: RoomKey) -> usize {
        (room.0 & 0xffff) as usize
    }

    /// The number of the room a key was issued in.
    pub fn room_of(key: u64) -> u32 {
        (key >> Self::ROOM_SHIFT) as u32
    }

    /// The number, within its room, of the participant that issued a key.
    pub fn participant_of(key: u64) -> u16 {
        (key >> Self::PARTICIPANT_SHIFT) as u16
    }
}

/// Turns instants into wall-clock time: cores never read a clock.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    pub instant: Instant,
    /// Unix time of `instant`, in microseconds.
    pub unix_micros: i64,
}

impl WallClock {
    /// It is `wall` at `instant`.
    pub fn new(instant: Instant, wall: SystemTime) -> Self {
        let since_epoch = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            instant,
            unix_micros: i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX),
        }
    }

    /// Unix time of `now`, in microseconds.
    pub fn unix_micros_at(&self, now: Instant) -> i64 {
        let since = now.saturating_duration_since(self.instant).as_micros();
        self.unix_micros
            .saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }

    /// Unix time of an instant that may lie before the clock's own.
    pub fn unix_micros_of(&self, at: Instant) -> i64 {
        let before = self.instant.saturating_duration_since(at).as_micros();
        let before = i64::try_from(before).unwrap_or(i64::MAX);
        self.unix_micros_at(at).saturating_sub(before)
    }

    /// The instant of a Unix time; one too far away to be one is the clock's own.
    pub fn instant_of(&self, unix_micros: i64) -> Instant {
        let apart = Duration::from_micros(unix_micros.abs_diff(self.unix_micros));
        let at = match unix_micros < self.unix_micros {
            true => self.instant.checked_sub(apart),
            false => self.instant.checked_add(apart),
        };
        at.unwrap_or(self.instant)
    }
}

/// What the node and the room give every participant of theirs.
#[derive(Clone, Debug)]
pub struct Environment {
    pub room: RoomKey,
    /// Host candidates of the shard that carries the participant.
    pub candidates: Arc<[LocalCandidate]>,
    /// Of the certificate that shard's DTLS uses.
    pub fingerprint: Fingerprint,
    /// Of the certificate it uses for a client that knows the first one from a connection that is
    /// gone: told the same again, it would go on with what is gone.
    pub spare: Option<Fingerprint>,
    /// First character of every local ICE username fragment: it names the shard, so that any
    /// worker that receives a first check knows whose it is.
    pub ufrag_prefix: char,
    pub keys: KeyAllocator,
    pub clock: WallClock,
}

/// A track of somebody else that can be subscribed to.
#[derive(Clone, Debug)]
pub struct Source {
    pub publisher_sid: ParticipantSid,
    pub publisher_identity: String,
    /// Snapshot of what others see of it.
    pub info: Arc<proto::TrackInfo>,
    /// One entry a codec, primary first.
    pub codecs: Vec<(TrackKey, Codec)>,
    /// The publisher's subscription permission includes this participant.
    pub allowed: bool,
}

/// A track of this participant that others may see from now on.
#[derive(Clone, Debug)]
pub struct Published {
    pub info: Arc<proto::TrackInfo>,
    pub codecs: Vec<(TrackKey, Codec)>,
}

#[derive(Debug)]
pub enum MediaInput {
    /// The JoinResponse is on its way: `/rtc` may offer now.
    Joined,
    Offer(proto::SessionDescription),
    Answer(proto::SessionDescription),
    Trickle(proto::TrickleRequest),
    AddTrack(proto::AddTrackRequest),
    /// After a thaw: it was not answered, which does not mean that it was not taken in.
    AddTrackAgain(proto::AddTrackRequest),
    /// `from_admin`: tell the client too.
    Mute {
        track: TrackSid,
        muted: bool,
        from_admin: bool,
    },
    UpdateAudioTrack(proto::UpdateLocalAudioTrack),
    UpdateVideoTrack(proto::UpdateLocalVideoTrack),
    /// A track of another participant appeared, changed, or its permission did.
    SourceChanged(Source),
    SourceRemoved(TrackSid),
    /// The client's or an admin's wish; the track may not exist yet.
    Subscribe {
        track: TrackSid,
        subscribed: bool,
    },
    TrackSetting(proto::UpdateTrackSettings),
    /// How one subscriber receives a track of ours: the room hands `SubscriptionChanged` of that
    /// subscriber to the publisher's core, which tells its client (`track_subscribed`, dynacast).
    /// `None` = no longer.
    Subscriber {
        track: TrackSid,
        subscriber: ParticipantSid,
        /// The one of the track's codecs this subscriber receives.
        codec: Option<Codec>,
        quality: Option<proto::VideoQuality>,
    },
    /// Replaces the permission: revoked publications end, revoked subscriptions wait.
    Permission(proto::ParticipantPermission),
    /// A resume: the client is back on a new WebSocket. Restarts ICE of server-offered connections.
    Resumed,
    /// After a thaw: all that others publish. What was subscribed goes on.
    Sources(Vec<Source>),
    /// After a thaw: the client's WebSocket is back without its noticing. What may have been lost
    /// with the node that died is asked for again.
    Rebound,
    /// What the client believes after a resume; subscriptions and disabled tracks are applied.
    SyncState(proto::SyncState),
    /// Reliable messages for the client, ahead of all that wait for the channel to open.
    SendAgain(Vec<Bytes>),
    /// A message for the client on the channel with this label, buffered until it opens.
    SendData {
        label: &'static str,
        payload: Bytes,
    },
    /// The room is smaller than `video.codec_regression_threshold`, or no longer: whether all move
    /// to a track's backup codec once somebody needs it (policy PREFER_REGRESSION).
    PreferRegression(bool),
    /// Test scenarios of clients that concern the connections.
    SwitchCandidateProtocol(proto::CandidateProtocol),
    /// Another one: the bandwidth its connection is taken to have, bits per second.
    LimitBandwidth(Option<u64>),
    Shard(Event),
    /// A standby would take a transport over, and is reached there over UDP: the client is told.
    StandbyAt {
        transport: TransportKey,
        standby: StandbyPlace,
    },
    /// The participant leaves: everything is torn down, nothing is said to the client.
    Close,
    Timeout,
}

/// Where a standby is, as its client is told.
#[derive(Debug)]
pub struct StandbyPlace {
    pub addresses: Vec<SocketAddr>,
    /// How many standbys went on with the transport before.
    pub takeovers: u32,
    /// Which telling of this home it is: no two are in the same words.
    pub telling: u32,
}

#[derive(Debug)]
pub enum MediaOutput {
    Signal(proto::signal_response::Message),
    Shard(Command),
    /// The track is real now (its section is negotiated): show it to others.
    Published(Published),
    /// Its TrackInfo (mute, layers, codecs, features) or codecs changed.
    TrackChanged(Published),
    Unpublished(TrackSid),
    /// A down track was bound or let go; the publisher may want to know.
    SubscriptionChanged {
        track: TrackSid,
        publisher: ParticipantSid,
        subscribed: bool,
        /// Which of the track's codecs it receives; `None` when it no longer does.
        codec: Option<Codec>,
        /// Highest quality this subscriber wants of it, for dynacast.
        quality: proto::VideoQuality,
    },
    /// The primary connection is up for the first time: the participant is ACTIVE.
    Connected,
    /// Data channels are open too: what waited for the joiner can be sent.
    DataReady,
    /// A message of the client arrived on the channel with this label.
    Data {
        label: String,
        payload: Bytes,
    },
    /// `SyncState` named a track that is neither published nor pending, or negotiation failed for
    /// good: the client must reconnect from scratch.
    FullReconnect,
    /// ICE or DTLS failed; the room sends Leave{RESUME} and waits.
    TransportFailed {
        /// How long the connection stood; `None` = it never did.
        lived: Option<Duration>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocator_says_in_time_that_its_keys_are_used_up() {
        let space = KeySpace::new(3, 7);
        let keys = space.allocator();
        assert!(!keys.is_spent());
        keys.0
            .fetch_add((1 << 24) - KeySpace::RESERVE, Ordering::Relaxed);
        assert!(keys.is_spent());
        let last = keys.transport().0;
        assert_eq!(KeySpace::participant_of(last), 7);
    }
}
