//! Bounds bursts: how many packets of one subscriber leave back to back before others have their
//! turn. The estimate of its bandwidth will widen or narrow this.

use crate::limits::{RUN_SEGMENTS_MAX, TURN_RUNS_MAX};

/// Packets one subscriber may send in one turn of the shard.
pub(crate) fn turn_packets_max() -> usize {
    RUN_SEGMENTS_MAX * TURN_RUNS_MAX
}
