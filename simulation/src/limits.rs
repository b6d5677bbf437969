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

/// Whole nodes: what a door keeps for somebody who does not read.
pub(crate) const SESSION_MESSAGES_MAX: usize = 4_096;
/// Actors of far sessions that wait to start.
pub(crate) const STARTS_MAX: usize = 4_096;
/// A TCP connection of the simulated network, in segments: a session's messages within some steps.
pub(crate) const TCP_SEGMENTS_MAX: usize = 4_096;
/// All nodes are members, vote as they shall and say that nothing is wrong within this time: the
/// quorum keeper waits 10 s for who is stable, and changes one thing at a time.
pub(crate) const GATHERING_MS: u64 = 90_000;
/// Everything healed, everybody is in a room within this time: nodes start, elect (3 s) and
/// register, what is dead is found dead, a door looks 6 s for a home, people try again after 2 s.
pub(crate) const BACK_IN_MS: u64 = 20_000;
/// After that, nodes say within this time that nothing is wrong: as for gathering.
pub(crate) const WELL_MS: u64 = 90_000;
/// After that, an app has been told of everybody and no secret has two users: a home that was
/// replaced lets go within 2 s of hearing so.
pub(crate) const SETTLED_MS: u64 = 5_000;
/// What happened to a node longer ago than this is no reason to declare it dead: a detector waits
/// 3 s at most, a verdict for its quorum, a connection to end 2 s.
pub(crate) const INNOCENT_AFTER_MS: u64 = 8_000;
/// Nothing has happened for so long: rooms have standbys that know them again (a detector's 3 s, a
/// room's new standby and its first image 1 s).
pub(crate) const CALM_AFTER_MS: u64 = 5_000;
/// Whoever is in a room for so long is known to its standby: once in 20 ms a room tells it, a
/// stream to it may be under way for a second.
pub(crate) const PROMISED_AFTER_MS: u64 = 3_000;
/// Whoever lost its room's home is who it was within this time, or told to start over.
pub(crate) const PROMISE_MS: u64 = 10_000;
/// Whoever was in a room for less is perhaps not told of: its transports need 60 ms to connect.
pub(crate) const SPOKE_AFTER_MS: u64 = 1_000;
/// Between two words somebody says.
pub(crate) const WORD_GAP_MS: u64 = 800;
/// Words somebody keeps for a home that lacks them; more than it says while it resumes.
pub(crate) const WORDS_KEPT: usize = 256;
/// A word whose packet was lost waits for a second or third try of SCTP.
pub(crate) const WORD_DELAY_MS: u64 = 1_000;
/// What a home took so long before it died, its standby knows: a room tells it once in 20 ms.
pub(crate) const KNOWN_TO_STANDBY_MS: u64 = 300;
/// Whatever a home took is heard within this time: takeovers end within `PROMISE_MS`.
pub(crate) const WORD_MS: u64 = PROMISE_MS + 2_000;
/// The same at the end, where nothing happens any more.
pub(crate) const WORD_AT_REST_MS: u64 = 2_000;
/// The mistake that loses words loses one in so many.
pub(crate) const WORDS_A_LOSS: u64 = 50;
/// Numbers a standby is told to be used, beyond those that are: 2 s of packets.
pub(crate) const LEASED_NUMBERS: u64 = 300;
/// A client that is gone: its transport fails when no check was answered for 15 s, as media's do.
pub(crate) const UNANSWERED_MS: u64 = 15_000;
/// Packets a transport sends at a time, 50 times a second.
pub(crate) const NUMBERS_A_TURN: u64 = 3;
/// A transport that has sent nothing for so long is silent.
pub(crate) const SILENT_AFTER_MS: u64 = 1_000;
/// The mistake that loses webhooks loses one in so many: a run has some hundred.
pub(crate) const WEBHOOKS_A_LOSS: u64 = 7;
/// What the log says of nodes is known to those who choose among them, and what they asked for
/// before is done, after so long.
pub(crate) const KNOWN_AFTER_MS: u64 = 1_000;
