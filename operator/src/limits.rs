//! Every bound of this crate, with its unit in the name and why it is what it is.

use std::time::Duration;

/// Share of all CPUs that scaling aims at unless configured (OpenVidu's template: 50 %).
pub const TARGET_CPU_DEFAULT: f64 = 0.5;
/// Around the target, nothing happens: load of meetings breathes by some percent.
pub const TARGET_BAND: f64 = 0.1;
/// What is left of the target after a node is taken away; otherwise the next decision would bring
/// it back.
pub const SCALE_IN_HEADROOM: f64 = 0.8;
/// A new machine boots, joins and gets rooms within this; until then its idleness says nothing
/// (OpenVidu's template: 120 s).
pub const WARM_UP_DEFAULT: Duration = Duration::from_secs(120);
/// Between two launches: the figures of the first must be in.
pub const COOL_DOWN_OUT_DEFAULT: Duration = Duration::from_secs(60);
/// After any change before a node is taken away: meetings come in waves, and machines are paid by
/// the minute.
pub const COOL_DOWN_IN_DEFAULT: Duration = Duration::from_secs(300);
/// A machine that was ordered and has not joined after this will not: it is not counted any more.
pub const LAUNCH_OVERDUE: Duration = Duration::from_secs(600);
/// A group is at most doubled in one step, and never by more than this.
pub const LAUNCH_MAX: u32 = 16;
/// CPU is averaged over about this long before it decides anything.
pub const CPU_AVERAGE_OVER: Duration = Duration::from_secs(60);
/// Nodes whose average is kept; as many as a cluster has.
pub const AVERAGES_MAX: usize = consensus::limits::NODES_MAX;

/// Rooms moved a second while a node drains: each makes its clients join elsewhere, and those nodes
/// must take them beside their own.
pub const MOVES_PER_SECOND_DEFAULT: f64 = 5.0;
/// Moves that are not over: more would only wait at the leader.
pub const MOVES_AT_ONCE_MAX: usize = 16;
/// A room that could not be moved is tried again after this.
pub const MOVE_RETRY: Duration = Duration::from_secs(2);
/// A room whose people would notice its move is asked about again after this.
pub const UNREADY_RETRY: Duration = Duration::from_millis(500);
/// So long it is: clients come to a node that carried them before within half a minute of that.
pub const UNREADY_PATIENCE: Duration = Duration::from_secs(60);
/// An end that could not be carried out (a cloud that refuses) is tried again after this.
pub const FINISH_RETRY: Duration = Duration::from_secs(10);
/// Reasons told of a drain that does not get on.
pub const STUCK_REASONS_MAX: usize = 8;
/// One record of a drain in the log; a few numbers and a word.
pub const RECORD_BYTES_MAX: usize = 4 * 1024;

/// A cloud's API answers within this, or is asked again later.
pub const CLOUD_TIMEOUT: Duration = Duration::from_secs(10);
/// The instance's own metadata service is on the machine.
pub const METADATA_TIMEOUT: Duration = Duration::from_secs(2);
/// What is read of an answer; they are a few KiB.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// What is told of a failed call: the beginning of its answer.
pub const ERROR_CHARS_MAX: usize = 300;
/// Credentials of an instance are renewed this long before they expire.
pub const CREDENTIALS_RENEW: Duration = Duration::from_secs(300);
/// A session token of the metadata service is asked for this long.
pub const METADATA_TOKEN_SECONDS: u64 = 300;
