//! Times and bounds of failure detection, each with the reason for its size.

use std::time::Duration;

/// Between two questions to a healthy peer: three fit into the shortest silence that accuses.
pub const PING_INTERVAL: Duration = Duration::from_millis(75);
/// Share of that interval each watched peer adds beyond a hundred of them: a master of the largest
/// cluster sends 2,000 questions a second, and takes longer to accuse.
pub const PING_SPREAD: Duration = Duration::from_micros(500);
/// Between two questions to a peer in doubt: enough of them go out before it is accused that a
/// path that loses a fifth of its packets each way does not lose them all.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(10);
/// A peer that stays silent is probed so eagerly for this long, then as if it were healthy.
pub const PROBE_FOR: Duration = Duration::from_secs(2);
/// Probes beyond the usual questions, over all peers: what one thread asks without being late for
/// the answers of those that live.
pub const PROBES_PER_SECOND_MAX: f64 = 5_000.0;
/// So many of them at once: every peer of a large cluster once.
pub const PROBES_AT_ONCE_MAX: f64 = 500.0;
/// A peer that has so many questions unanswered is not asked eagerly any more: what was asked
/// already is enough for a path that loses a fifth of its packets each way.
pub const PROBES_UNANSWERED_MAX: usize = 24;
/// Older ones are lost.
pub const PROBES_UNANSWERED_FOR: Duration = Duration::from_millis(500);

/// Silence, beside what its round trips usually take, after which a peer is suspected.
pub const SILENCE: Duration = Duration::from_millis(250);
/// As `SILENCE`, once its kernel has closed the lifeline.
pub const SILENCE_CLOSED: Duration = Duration::from_millis(100);
/// Silence of a process whose kernel still takes connections: it is stopped, or starved of its CPU
/// by something else on the machine. A room is better off waiting for the latter.
pub const STALLED: Duration = Duration::from_secs(1);
/// The kernel of a peer in doubt is asked for a connection this often.
pub const KNOCK_INTERVAL: Duration = Duration::from_millis(50);
/// A question that confirms the end of a process has at least this long to be answered: a living
/// one answers in a round trip, or when its core has time.
pub const CONFIRM_MIN: Duration = Duration::from_millis(40);
/// What is added for a peer that was never heard: its endpoint may still be starting.
pub const FIRST_CONTACT: Duration = Duration::from_secs(5);
/// As `FIRST_CONTACT`, for a peer that has been in the cluster for long and is merely watched anew:
/// what it takes to connect.
pub const FIRST_CONTACT_MIN: Duration = Duration::from_millis(250);
/// A leader without any other observer, that does hear somebody, waits this many times as long.
pub const ALONE_FACTOR: u32 = 2;
/// Where less than half of the media nodes would be left, a silent one is given up only after this:
/// switches restart and routes are found anew within it, and whoever is cut off serves its clients.
pub const MANY_HELD: Duration = Duration::from_secs(10);
/// After most media nodes were silent for this long, those that are heard again are heard one after
/// the other: the others have as long before they count as silent.
pub const SETTLED: Duration = Duration::from_secs(1);
/// Who was called dead within this counts among those that would be left.
pub const FALLEN_LATELY: Duration = Duration::from_secs(5);

/// Round trips: what is believed before the first, and between which an estimate is kept. The
/// greatest bounds how long a death stays unnoticed.
pub const ROUND_TRIP_FIRST: Duration = Duration::from_millis(100);
pub const ROUND_TRIP_MIN: Duration = Duration::from_millis(10);
pub const ROUND_TRIP_MAX: Duration = Duration::from_millis(200);

/// The detector wants to run this often. If it does not, it was not scheduled.
pub const STEP_INTERVAL: Duration = Duration::from_millis(25);
/// A wake-up that is late by more than this is a stall; what is beyond it counts for nobody.
pub const LATENESS: Duration = Duration::from_millis(25);

/// A suspicion is told to the leader this often while it lasts.
pub const TELL_INTERVAL: Duration = Duration::from_millis(100);
/// A suspicion that was not repeated for this long is over: two tellings may be lost.
pub const TOLD_FRESH: Duration = Duration::from_millis(300);
/// A verdict that the log does not show is given again: the leader may have failed to write it.
pub const DECLARE_AGAIN: Duration = Duration::from_millis(500);
/// A leader that alone misses a node for this long lets another lead: a switch that restarts takes
/// less, and the node is without a log meanwhile.
pub const BLIND_FOR: Duration = Duration::from_secs(5);
/// It does so this often at most: where every leader misses somebody, elections help nobody.
pub const ASIDE_AGAIN: Duration = Duration::from_secs(60);
/// A node that said it would be away is not suspected for this long, once a life: a restart.
pub const FAREWELL: Duration = Duration::from_secs(20);

/// Media nodes that watch a node beside the masters: with one master there are still two others.
pub const RING_OBSERVERS: usize = 2;
/// Questions to one peer whose answers are awaited; older ones only lose their round-trip sample.
pub const IN_FLIGHT_MAX: usize = 64;
/// Suspicions of others kept at the leader: each node is watched by a handful.
pub const TOLD_MAX: usize = 8_192;
