//! Bounds of the cluster plane, each with the reason for its size.

use std::time::Duration;

/// Bytes under way in one direction of a stream within the process; as a socket's buffer.
pub const PIPE_BYTES_MAX: usize = 64 << 10;

/// One request or answer between nodes, but for raft's, which carry snapshots: above the largest
/// body of the server API (10 MiB) with what is said of it.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Why a node refused, as text.
pub const REFUSAL_BYTES_MAX: usize = 4 << 10;
/// Streams one peer may have open on one connection: a session of each client a gateway carries.
pub const STREAMS_MAX: u32 = 32_768;
/// Raft's calls at once on one connection: it has a few under way for each peer.
pub const RAFT_STREAMS_MAX: u32 = 1_024;
/// Unread bytes of one stream: a reader that is this far behind stops the writer.
pub const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// Unread bytes of all streams of one connection.
pub const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
/// Handshakes that are not over; every node of the largest cluster may dial at once.
pub const HANDSHAKES_MAX: usize = 2_048;

/// A silent connection is spoken on this often, so that a dead host is noticed and a firewall
/// keeps its entry.
pub const KEEP_ALIVE: Duration = Duration::from_millis(100);
/// A connection that hears nothing for this long is dead. Hosts are found dead sooner, by what
/// watches nodes; a stalled process must not lose its clients' streams.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(2);
/// A handshake that takes longer has failed: a few round trips over any distance.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long `open` waits for the other side to take the stream.
pub const OPEN_PATIENCE: Duration = Duration::from_secs(2);
/// What a round trip is taken for until it was measured: nodes of one site.
pub const INITIAL_RTT: Duration = Duration::from_millis(20);
/// A name is looked up for at most this long.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);

/// A shorter secret of a cluster can be guessed; `skein cluster token` makes longer ones.
pub const TOKEN_CHARS_MIN: usize = 32;

/// Between two tries to enter or to register: long enough not to flood the log of those who wait.
pub const MEMBERSHIP_RETRY: Duration = Duration::from_millis(500);
/// How long a master has to answer about membership; taking somebody in is a commit.
pub const MEMBERSHIP_PATIENCE: Duration = Duration::from_secs(5);
/// How long the first entries may take after somebody was taken in; then it asks again.
pub const ENTRY_PATIENCE: Duration = Duration::from_secs(10);
/// What a node waits for is said again after this.
pub const REPEAT_LOG: Duration = Duration::from_secs(30);
/// How long a leader that stops waits for another to lead; two elections.
pub const HANDOVER_PATIENCE: Duration = Duration::from_secs(1);
/// How long connections have to say goodbye.
pub const STOP_PATIENCE: Duration = Duration::from_millis(500);
/// Kernel buffer of the cluster endpoint: a snapshot comes as fast as the network carries it.
pub const SOCKET_BUFFER_BYTES: usize = 4 << 20;
