//! Bounds and intervals of a room, each with its reason. Everything a client can make grow in here
//! ends at one of these.

use std::time::Duration;

/// Joins, leaves and activations of those who only subscribe are told together: a large room that
/// fills would drown everybody in single updates. LiveKit's `subscriberUpdateInterval`.
pub(crate) const UPDATE_BATCH_INTERVAL: Duration = Duration::from_secs(3);
/// Counts in `room_update` are worth one message in this time. LiveKit's room proto proxy.
pub(crate) const ROOM_UPDATE_INTERVAL: Duration = Duration::from_secs(5);
pub(crate) const QUALITY_INTERVAL: Duration = Duration::from_secs(5);
/// Tokens live at least ten minutes; half of that leaves time for a client that was asleep.
pub(crate) const TOKEN_REFRESH_INTERVAL: Duration = Duration::from_secs(300);
/// Longest token that fits into a URL: the HTTP library reads 65,534 bytes, the rest of the query
/// is some hundred.
pub(crate) const REFRESHED_TOKEN_BYTES_MAX: usize = 60_000;
/// A participant whose media never connects is gone after this.
pub(crate) const JOIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Two times at which a client asked, told by two nodes, may differ by so much and be one: what a
/// word is under way, sent again some times,
pub(crate) const ASKED_SLACK: Duration = Duration::from_secs(2);
/// and this part of the time since then, by which clocks of machines drift.
pub(crate) const ASKED_DRIFT: u32 = 1_000;
/// How long a participant with a failed transport may take to come back.
pub(crate) const RECONNECT_GRACE: Duration = Duration::from_secs(5);
/// How long a client that is back may take to restart ICE: SDKs give up after 15 s.
pub(crate) const RESUME_CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Reliable packets kept for those who resume.
pub(crate) const REPLAY_AGE_MAX: Duration = Duration::from_secs(2);
pub(crate) const REPLAY_BYTES_MAX: usize = 100_000;
/// Each is an entry of the journal of its own.
pub(crate) const REPLAY_PACKETS_MAX: usize = 1_000;
/// Media that flowed for less than this and died was let through by mistake: the next kind of
/// candidate is tried (LiveKit's `shortConnectionThreshold`).
pub(crate) const SHORT_CONNECTION: Duration = Duration::from_secs(90);
/// So many failures, each so soon after the one before, have the same effect (LiveKit's
/// `failureCountThreshold`).
pub(crate) const FALLBACK_FAILURES: u32 = 2;
pub(crate) const FALLBACK_FAILURES_WITHIN: Duration = Duration::from_secs(60);
/// After a change of candidates, failures count again: ICE gives a silent connection up after 15 s.
pub(crate) const FALLBACK_REST: Duration = Duration::from_secs(20);
/// Reliable packets kept for one participant that is still joining.
pub(crate) const WAITING_BYTES_MAX: usize = 100_000;
/// Lossy packets kept beside them: who joins wants the latest of a cursor, not its history.
pub(crate) const WAITING_LOSSY_MAX: usize = 32;
pub(crate) const WAITING_LOSSY_BYTES_MAX: usize = 40_000;
/// Nonces of `SendData` remembered: retries come within seconds.
pub(crate) const NONCES_MAX: usize = 256;
pub(crate) const NONCE_BYTES: usize = 16;
/// Departures remembered for those whose signal is interrupted.
pub(crate) const DEPARTED_AGE_MAX: Duration = Duration::from_secs(600);
pub(crate) const DEPARTED_MAX: usize = 1_024;
/// Of these so many are written down for a standby: enough for whoever notices the death of a node
/// by its WebSocket, little enough to be written with each of them.
pub(crate) const DEPARTED_RECORDED_AGE_MAX: Duration = Duration::from_secs(60);
pub(crate) const DEPARTED_RECORDED_MAX: usize = 128;
/// How long a participant may take to come back after the node of its room died: a client notices
/// within 15 s, and its later attempts are 7 s apart.
pub(crate) const RETURN_TIMEOUT: Duration = Duration::from_secs(40);
/// A WebSocket that was taken for alive may have been dead for this long: the gateway's idle
/// timeout, and what its last messages took.
pub(crate) const SIGNAL_SILENCE_MAX: Duration = Duration::from_secs(40);
/// How long a room that goes on elsewhere waits for its shards to freeze its transports: they do so
/// within milliseconds, and the standby waits, too.
pub(crate) const LAST_WORDS_PATIENCE: Duration = Duration::from_millis(100);
/// Within this, whoever came along from the room's last home is back, or will hardly be: then the
/// move is told of.
pub(crate) const ARRIVAL_PATIENCE: Duration = Duration::from_secs(10);
/// Moves between nodes that a room remembers: they are in its record, and a page shows the last.
pub(crate) const MOVES_MAX: usize = 8;
/// Participants of a room: the width of a participant's number in a key, less a reserve.
pub(crate) const PARTICIPANTS_MAX: usize = 60_000;
/// A receiver must acknowledge an RPC within this; LiveKit's `rpcMaxRoundTripLatency`.
pub(crate) const RPC_ACK_TIMEOUT: Duration = Duration::from_secs(2);
pub(crate) const RPC_RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// No caller of the API waits longer than this for anything.
pub(crate) const RPC_RESPONSE_TIMEOUT_MAX: Duration = Duration::from_secs(120);
pub(crate) const RPC_PAYLOAD_BYTES_MAX: usize = 15 * 1024;
pub(crate) const RPCS_MAX: usize = 1_000;
/// Data tracks of one participant; LiveKit has no limit but the 16-bit handle.
pub(crate) const DATA_TRACKS_MAX: usize = 256;
pub(crate) const DATA_TRACK_NAME_CHARS_MAX: usize = 256;
/// What a participant's data tracks may weigh in an update about it, less the newest: each change
/// of it is told to everybody, with all of them.
pub(crate) const DATA_TRACKS_BYTES_MAX: usize = 128 * 1024;
/// Data tracks one participant may ask for before they exist, or ask not to have.
pub(crate) const DATA_TRACKS_WANTED_MAX: usize = 1_024;
/// Data tracks one participant receives: it is told all of them whenever one comes or goes.
pub(crate) const DATA_SUBSCRIPTIONS_MAX: usize = 1_024;
/// Names of tracks in one request: all that one participant may know of.
pub(crate) const SIDS_PER_REQUEST_MAX: usize = 10_000;
/// Entries of a subscription permission.
pub(crate) const PERMISSION_ENTRIES_MAX: usize = 10_000;
/// Tracks named in all of them.
pub(crate) const PERMISSION_SIDS_MAX: usize = 100_000;
pub(crate) const DISPATCHES_MAX: usize = 1_000;
/// Jobs launched and not yet over, of all dispatches of a room.
pub(crate) const JOBS_MAX: usize = 10_000;
/// A choice of ICE protocol outlives a reconnect and a reload; LiveKit's default for its cache.
pub(crate) const ICE_PREFERENCE_AGE_MAX: Duration = Duration::from_secs(300);
/// Most people of a room have no such choice.
pub(crate) const ICE_PREFERENCES_MAX: usize = 1_000;
/// Longest `speaker_update` scenario.
pub(crate) const SIMULATED_SPEECH_MAX: Duration = Duration::from_secs(60);
/// Share of a core in thousandths from which a shard takes nobody new while others have room: above
/// it bursts begin to queue.
pub(crate) const SHARD_BUSY_PERMILLE: u16 = 600;
/// Images and deltas of a room's transports that wait for the end of one input: two for each
/// transport of the largest room.
pub(crate) const MEDIA_ENTRIES_MAX: usize = 20_000;
/// Whom a standby has not reached by then it will not reach: libwebrtc comes to a node that carried
/// it before 33 s later (`media::limits::STANDBY_RETRY`).
pub(super) const WARM_WITHIN: Duration = Duration::from_secs(40);
