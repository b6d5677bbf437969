//! What ICE-TCP did, for `worker::counters`.

/// Figures since the start of the worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpCounters {
    pub accepted: u64,
    /// Closed for lack of room, of a valid first packet, or of any sign of life.
    pub refused: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub frames_dropped: u64,
}
