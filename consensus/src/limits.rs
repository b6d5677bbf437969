//! Every bound of this crate, with its unit in the name and why it is what it is.

/// One log record. Commands are small (names, epochs, JSON of a few KiB); a record must fit a
/// segment many times over so that rotation stays rare.
pub const WAL_RECORD_BYTES_MAX: usize = 1 << 20;
/// A segment: small enough that a laptop does not notice the preallocation, large enough that
/// 10,000 commands of 1 KiB fit between two rotations.
pub const WAL_SEGMENT_BYTES: u64 = 16 << 20;
/// What may wait for one flush; beyond it the writer flushes before it takes more.
pub const WAL_BATCH_BYTES_MAX: usize = 4 << 20;
/// Segments before the last snapshot are deleted; more than this many means purging is broken.
pub const WAL_SEGMENTS_MAX: usize = 1_024;
/// A vote, or the id of a log position, as bytes.
pub const WAL_SMALL_BYTES_MAX: usize = 256;

/// Open file handles a disk keeps; segments and snapshots of one node are a handful.
pub const DISK_OPEN_FILES_MAX: usize = 64;
/// How often a segment is read before an input/output error counts as damage of the medium.
pub const DISK_READ_TRIES: usize = 3;

const _: () = assert!(WAL_RECORD_BYTES_MAX * 4 <= WAL_SEGMENT_BYTES as usize);
const _: () = assert!(WAL_BATCH_BYTES_MAX >= WAL_RECORD_BYTES_MAX);

/// Machines of one cluster: far beyond what one raft group of masters was measured with.
pub const NODES_MAX: usize = 1_024;
/// Ids of removed nodes that are remembered: a machine that comes back with its old disk years
/// after its removal is let in, which does less harm than ids that run out.
pub const REMOVED_NODES_MAX: usize = 4_096;
/// Rooms alive at once; about 200 bytes each in memory and in a snapshot.
pub const ROOMS_MAX: usize = 100_000;
/// Egress, ingress and agent jobs that are not over.
pub const JOBS_MAX: usize = 20_000;
/// What a job carries (its request, its progress), as protobuf or JSON.
pub const JOB_DETAIL_BYTES_MAX: usize = 64 * 1024;
/// Named leases: one for each duty that exactly one node performs.
pub const LEASES_MAX: usize = 10_000;
/// API keys, settings, application data.
pub const VALUES_MAX: usize = 50_000;
/// One value; larger things belong in the object store.
pub const VALUE_BYTES_MAX: usize = 256 * 1024;
/// All values and details of jobs together: what every master keeps in memory and sends to a
/// new one.
pub const STATE_BYTES_MAX: usize = 128 << 20;
/// Names given by users: rooms (LiveKit allows 256 characters), keys, jobs, leases.
pub const NAME_BYTES_MAX: usize = 1_024;
/// Addresses, hosts, zones, regions.
pub const LABEL_BYTES_MAX: usize = 256;
/// Commands whose outcome is remembered, so that a retry is answered and not applied again. Whoever
/// tries for longer than half of them is refused.
pub const REQUESTS_REMEMBERED: usize = 8_192;
/// Ids of nodes come from the same counter as all others; far beyond what it can reach, and far
/// enough from its end that nothing overflows behind it.
pub const NODE_ID_MAX: u64 = 1 << 48;
/// Ids one command may take.
pub const IDS_PER_COMMAND_MAX: u64 = 1_024;

const _: () = assert!(VALUE_BYTES_MAX + NAME_BYTES_MAX < WAL_RECORD_BYTES_MAX);
const _: () = assert!(JOB_DETAIL_BYTES_MAX + NAME_BYTES_MAX < WAL_RECORD_BYTES_MAX);

/// Entries kept in memory for replication and applying; older ones are read from the log.
pub const LOG_CACHE_BYTES_MAX: usize = 32 << 20;
/// Work waiting for the log's thread. The writer waits when it is full: openraft itself bounds what
/// it has in flight, this is the second line.
pub const LOG_JOBS_MAX: usize = 4_096;
/// Jobs taken into one batch before it is flushed.
pub const LOG_BATCH_JOBS_MAX: usize = 1_024;
/// How often the log looks whether it was idle and seals itself. Short, as damage to the very last
/// batch passes for a torn write until then; not shorter, as a seal costs a flush.
pub const LOG_SEAL_INTERVAL_MS: u64 = 100;
/// Snapshots waiting to be written or read; there is one at a time.
pub const SNAPSHOT_JOBS_MAX: usize = 16;
/// Entries after which a snapshot is taken: a restart replays at most this many twice.
pub const SNAPSHOT_ENTRIES: u64 = 10_000;
/// Entries kept behind a snapshot, so that a voter that was away briefly needs no snapshot.
pub const LOG_ENTRIES_KEPT: u64 = 2_000;
/// Changes a slow reader may be behind before it must read everything again.
pub const CHANGES_MAX: usize = 8_192;
/// One message between voters; larger than any snapshot, names and keys of everything included.
pub const MESSAGE_BYTES_MAX: usize = STATE_BYTES_MAX * 5;

/// Two names or labels, and what is stored around them.
const ENTRY_BYTES_MAX: usize = 2 * NAME_BYTES_MAX + 256;
const _: () = assert!(
    STATE_BYTES_MAX
        + (ROOMS_MAX + JOBS_MAX + LEASES_MAX + VALUES_MAX + NODES_MAX + REQUESTS_REMEMBERED)
            * ENTRY_BYTES_MAX
        < MESSAGE_BYTES_MAX
);
/// How long a leader waits for a follower to make entries durable: a bad disk's slowest flush.
pub const APPEND_PATIENCE_MS: u64 = 1_000;
/// How long a snapshot may take to another voter.
pub const SNAPSHOT_PATIENCE_MS: u64 = 30_000;
/// How long a proposal is tried again after a leader was lost; four elections.
pub const PROPOSE_PATIENCE_MS: u64 = 5_000;
/// Entries the log may grow by while a command is tried again: half of what is remembered, as those
/// that are on their way to the leader are not counted.
pub const PROPOSE_ENTRIES_MAX: u64 = REQUESTS_REMEMBERED as u64 / 2;
/// A leader that cannot be reached is asked over other voters for this long before it is tried
/// again itself: such a try may take all its patience.
pub const DETOUR_MS: u64 = 5_000;
/// Between two tries when nobody leads.
pub const PROPOSE_RETRY_MS: u64 = 20;
