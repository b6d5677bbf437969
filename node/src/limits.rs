//! Bounds of sockets, workers and composition, each with the reason for its size. Used by `net`,
//! `worker`, `shards` and `run`; rooms and sessions have their own.

use std::time::Duration;

/// Local addresses a node offers: a host has a handful, a container host dozens of bridges that
/// no client can reach; each costs a socket per shard and a candidate in every description.
pub const LOCAL_ADDRESSES_MAX: usize = 16;
/// Shards, as a shard is named by one character of a username fragment.
pub const SHARDS_MAX: usize = 32;

/// A client is let in again by another node this often while its room moves: a room moves once in
/// its life, or once a second in a cluster that falls apart.
pub const ATTACH_TRIES_MAX: u8 = 5;

/// Kernel buffer asked for on each media socket: 50 ms at 1.3 Gbit/s, so that a slow turn of the
/// worker loses nothing. The kernel grants less if `net.core.rmem_max` is lower.
pub const SOCKET_BUFFER_BYTES: usize = 8 << 20;
/// One receive slot: the largest run the kernel coalesces (GRO) is below 64 KiB.
pub const RECEIVE_SLOT_BYTES: usize = 64 << 10;
/// Receive calls per socket and turn; a call brings up to 32 slots, so one busy socket cannot
/// starve commands and timers.
pub const RECEIVE_CALLS_PER_TURN: usize = 4;

/// Segmentation that the kernel refused is tried again after this: one refused run a minute costs
/// nothing, a socket without runs costs two thirds of its capacity.
pub const SEGMENTATION_REST: Duration = Duration::from_secs(60);

/// Commands carried out per turn; joining a large room brings some hundreds.
pub const COMMANDS_PER_TURN: usize = 256;
/// Commands waiting at one worker. Only a worker that hangs gets here; more is lost and counted.
pub const COMMANDS_WAITING_MAX: usize = 1 << 20;
/// Outputs of a shard taken per turn: bounds how long a turn is deaf for new packets and commands,
/// some 20 ms. What is left has its turn after them.
pub const OUTPUTS_PER_TURN: usize = 2_048;
/// Events on their way from all shards to the rooms.
pub const EVENTS_WAITING_MAX: usize = 16_384;
/// Events a worker keeps when that queue is full; then the oldest are lost and counted.
pub const EVENTS_KEPT_MAX: usize = 65_536;
/// The share of them that data, statistics and speakers may fill: what happened to a connection is
/// told once, and must find room.
pub const EVENTS_KEPT_DROPPABLE_MAX: usize = EVENTS_KEPT_MAX / 2;
/// Payload of data on its way from all shards to the rooms; more is lost and counted. A second of
/// what the fastest network brings.
pub const EVENT_DATA_BYTES_MAX: usize = 128 << 20;
/// Data one connection may send for ever: files and byte streams go as fast as SCTP carries them,
/// some MiB a second; sensors and games send some hundred messages. More is lost and counted.
pub const DATA_BYTES_PER_SECOND: f64 = 33_554_432.0;
pub const DATA_MESSAGES_PER_SECOND: f64 = 10_000.0;
/// What was not used for this long may be sent at once.
pub const DATA_BURST: Duration = Duration::from_secs(2);

/// Batches of datagrams handed from one worker to another and not yet taken: a jitter buffer,
/// not a backlog.
pub const HANDED_BATCHES_MAX: usize = 256;
/// Handed batches taken per turn.
pub const HANDED_BATCHES_PER_TURN: usize = 64;
/// Blocks of relay frames on their way to one worker and not yet taken: some milliseconds of a busy
/// shard, 8 MiB.
pub const RELAY_BLOCKS_MAX: usize = 256;
/// Such blocks taken per turn: about as much as a turn receives from sockets.
pub const RELAY_BLOCKS_PER_TURN: usize = 32;
/// Remote addresses remembered to belong to another shard, per generation.
pub const LEARNED_ADDRESSES_MAX: usize = 16_384;
/// A remembered address not seen for one to two of these is forgotten.
pub const LEARNED_GENERATION: Duration = Duration::from_secs(30);

/// ICE-TCP connections of one worker.
pub const TCP_CONNECTIONS_MAX: usize = 4_096;
/// Those among them from which the shard has not taken a check yet.
pub const TCP_STRANGERS_MAX: usize = 1_024;
/// Of them, those of one remote address or IPv6 network: an office that joins at once.
pub const TCP_STRANGERS_PER_NETWORK_MAX: usize = 128;
/// Time a connection has until then.
pub const TCP_STRANGER_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence after which an established connection is closed; ICE keep-alives come every 2 s.
pub const TCP_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Unsent bytes of a connection beyond which frames are dropped: 1 s at 2 Mbit/s. Media that old
/// is worth nothing.
pub const TCP_UNSENT_BYTES_MAX: usize = 256 << 10;
/// Connections accepted per turn.
pub const TCP_ACCEPTS_PER_TURN: usize = 32;
/// Bytes read from one connection per turn.
pub const TCP_READ_BYTES_PER_TURN: usize = 64 << 10;

/// A packet waits in a socket for less than this; an older stamp is of a clock that was set.
pub const ARRIVAL_AGE_MAX: Duration = Duration::from_millis(500);

/// Wait for more packets before subscribers are served, for each of them: a few times what serving
/// one costs.
pub const GATHER_PER_SUBSCRIBER: Duration = Duration::from_micros(10);
/// Longest such wait: within the jitter of a local network.
pub const GATHER_MAX: Duration = Duration::from_millis(2);
/// A shorter wait is not worth its timer: fewer than 40 subscribers are served at once.
pub const GATHER_MIN: Duration = Duration::from_micros(400);

/// Longest wait of a worker without a deadline; shutdown does not depend on it.
pub const WORKER_WAIT_MAX: Duration = Duration::from_millis(500);
/// A worker publishes its counters this often.
pub const COUNTERS_INTERVAL: Duration = Duration::from_secs(1);

/// Wait for each of a few tries to learn an external address.
pub const EXTERNAL_ADDRESS_WAIT: Duration = Duration::from_millis(500);
pub const EXTERNAL_ADDRESS_TRIES: usize = 3;

/// A draining node looks this often whether everybody has left (upstream: 5 s).
pub const DRAIN_POLL: Duration = Duration::from_secs(1);
/// A forced stop gives clients this long to read their Leave.
pub const STOP_GRACE: Duration = Duration::from_millis(500);

/// Open files a node asks for: its connections below together. With fewer it warns.
pub const OPEN_FILES_WANTED: u64 = 65_536;

/// Open HTTP connections of all workers: a session costs about one, 20,000 are beyond a node.
pub const HTTP_CONNECTIONS_MAX: usize = 40_000;
/// A request head that takes longer to arrive is an attack or a dead line.
pub const HTTP_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A body that takes longer is as bad: 10 MiB at 2 Mbit/s need 40 s.
pub const HTTP_BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Body of somebody who has shown no token: enough to be told what is missing.
pub const STRANGER_BODY_BYTES_MAX: usize = 64 << 10;
/// Idle connections stay longer than the 60 s after which common load balancers drop theirs.
pub const HTTP_KEEP_ALIVE: Duration = Duration::from_secs(75);
/// The kernel probes silent connections this often.
pub const TCP_KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Sent bytes that nobody acknowledges for this long end the connection and free its buffers.
pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause of the STUN server after an error of its socket: one that persists must not spin.
pub const STUN_ERROR_PAUSE: Duration = Duration::from_millis(10);

/// STUN servers told to clients; browsers complain about five or more and gain nothing by them.
pub const STUN_URLS_MAX: usize = 2;

/// TURN connections over TCP and TLS: one a participant who is locked in.
pub const TURN_STREAMS_MAX: usize = 8_192;
/// Those among them without an allocation: a TLS handshake costs us more than the stranger.
pub const TURN_STRANGERS_MAX: usize = 512;
/// Time a connection has for its handshake and its allocation.
pub const TURN_STRANGER_TIMEOUT: Duration = Duration::from_secs(10);
/// `turn.ttl_seconds` is kept within these, as upstream does.
pub const TURN_CREDENTIALS_MIN: Duration = Duration::from_secs(300);
pub const TURN_CREDENTIALS_MAX: Duration = Duration::from_secs(86_400);
/// A renewed certificate is noticed after this.
pub const CERTIFICATE_CHECK: Duration = Duration::from_secs(60);
/// Remote networks whose connects are counted, per generation: a few MiB; real clients of one node
/// come from fewer.
pub const GATE_NETWORKS_MAX: usize = 32_768;
