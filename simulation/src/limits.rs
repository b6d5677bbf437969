//! Every bound of the simulator, with its unit in the name and why it is what it is.

/// What is shown of a run that failed without printing.
pub(crate) const TRACE_TAIL_LINES: usize = 40;
/// Step of virtual time: the resolution of tokio's timers.
pub(crate) const STEP_MS: u64 = 1;
/// Messages a socket holds; far more than a host gets within a step.
pub(crate) const SOCKET_MESSAGES_MAX: usize = 65_536;
/// One message between voters: the largest snapshot of a run, with room.
pub(crate) const DATAGRAM_BYTES_MAX: usize = 8 << 20;
/// Orders the simulator may have given to a host that has not followed them yet.
pub(crate) const ORDERS_MAX: usize = 64;
/// Once a quorum is healed, somebody must be acknowledged within this time: a campaign of a
/// witness on a slow clock (1.2 s), one more for a split vote, and disks of 20 ms.
pub(crate) const QUORUM_PROGRESS_MS: u64 = 6_000;
/// Once everything is healed and quiet, all must be equal and the wanted voters vote: the leader
/// may be waiting 30 s for the answer to a snapshot that was lost, twice if it was the second.
pub(crate) const CONVERGENCE_MS: u64 = 75_000;
/// The state is compared as a whole at every index that this divides.
pub(crate) const STATE_COMPARED_EVERY: u64 = 64;
/// Entries a new voter may lack when it gets its vote.
pub(crate) const LAG_ENTRIES_MAX: u64 = 200;
