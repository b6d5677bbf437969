//! One transport with what the shard knows of it: the receiving and the sending side, figures.

use std::time::Instant;

use crate::bandwidth::ReceiveEstimate;
use crate::downstream::continuation::Continuation;
use crate::downstream::sender::Sender;
use crate::event::TransportStats;
use crate::ids::TransportKey;
use crate::shard::follow::Follower;
use crate::shard::takeover::Takeover;
use crate::transport::Transport;
use crate::types::Path;
use crate::upstream::receiver::Receiver;

pub(crate) struct TransportSlot {
    pub(crate) key: TransportKey,
    pub(crate) transport: Transport,
    pub(crate) receiver: Receiver,
    pub(crate) sender: Sender,
    pub(crate) stats: TransportStats,
    pub(crate) estimate: ReceiveEstimate,
    /// `stats.bytes_in` at the last report.
    pub(crate) bytes_reported: u64,
    /// Sender SSRC of our RTCP.
    pub(crate) feedback_ssrc: u32,
    /// SSRC of the last media packet, which feedback about the whole transport names.
    pub(crate) media_ssrc: u32,
    /// Media may flow: what is forwarded earlier is lost, so nothing starts before.
    pub(crate) open: bool,
    /// When the shard looks at the timers of `transport` next, if it does.
    pub(crate) timer: Option<Instant>,
    /// Addresses that lead here, some of them outdated; at most as many as ICE has pairs.
    pub(crate) paths: Vec<Path>,
    /// Local user name fragments that lead here: the current one, and the one before a restart.
    pub(crate) ufrags: Vec<String>,
    /// Tracks published over this transport.
    pub(crate) tracks: Vec<u32>,
    /// What its standby was told, while there is one.
    pub(crate) follower: Option<Follower>,
    /// Of the last image or delta; goes on over changes of the standby, so that an
    /// acknowledgement of an earlier one counts for nothing.
    pub(crate) followed_version: u32,
    /// Where its down tracks stood on the node it was taken over from.
    pub(crate) resumed: Vec<Continuation>,
    /// While it was taken over a moment ago.
    pub(crate) takeover: Option<Takeover>,
}

impl TransportSlot {
    pub(crate) fn new(
        now: Instant,
        key: TransportKey,
        transport: Transport,
        feedback_ssrc: u32,
    ) -> TransportSlot {
        TransportSlot {
            key,
            transport,
            receiver: Receiver::new(now),
            sender: Sender::default(),
            stats: TransportStats::default(),
            estimate: ReceiveEstimate::default(),
            bytes_reported: 0,
            feedback_ssrc,
            media_ssrc: 0,
            open: false,
            timer: None,
            paths: Vec::new(),
            ufrags: Vec::new(),
            tracks: Vec::new(),
            follower: None,
            followed_version: 0,
            resumed: Vec::new(),
            takeover: None,
        }
    }
}

impl std::fmt::Debug for TransportSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransportSlot")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}
