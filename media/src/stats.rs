//! Counters of a shard as a whole; per-transport figures are `event::TransportStats`. Plain
//! integers on the packet path, read by the worker once a second.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardCounters {
    pub datagrams_in: u64,
    /// From an address no transport knows, without credentials that one has.
    pub unknown_path: u64,
    /// Dropped by a transport: malformed, unauthenticated, replayed, too early.
    pub refused: u64,
    pub rtp_in: u64,
    pub rtp_malformed: u64,
    /// Packets of SSRCs that nothing claimed in time.
    pub rtp_unknown: u64,
    /// Larger than what can be sent on, before or after they were sealed.
    pub rtp_too_large: u64,
    /// Duplicates, too old, or not what their codec says.
    pub rtp_dropped: u64,
    pub rtcp_in: u64,
    pub rtp_out: u64,
    pub runs_out: u64,
    /// Packets that had left the cache, or could not be written or sealed, when their turn came.
    pub forward_failed: u64,
    pub retransmitted: u64,
    /// Frames of other shards and nodes.
    pub relay_in: u64,
    /// Those among them that were not understood, or name a track that is gone.
    pub relay_refused: u64,
    /// Packets handed to other shards and nodes.
    pub relay_out: u64,
    /// Packets and small frames that found no room; the other end asks again.
    pub relay_dropped: u64,
    /// Commands for keys that are gone, or that exist already.
    pub commands_ignored: u64,
}
