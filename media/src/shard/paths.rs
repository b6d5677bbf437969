//! A look at a subscriber's path from outside: for figures and tests, never needed for forwarding.

use std::time::Duration;

use crate::ids::TransportKey;
use crate::shard::Shard;

/// What is believed of the path to one subscriber.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PathView {
    /// What it is taken to carry, bits per second.
    pub estimate_bps: u64,
    /// Tracks get less than they want.
    pub constrained: bool,
    /// Lost share of late, 0.0..=1.0.
    pub loss: f32,
    /// From a packet to the feedback about it.
    pub feedback_rtt: Option<Duration>,
}

impl Shard {
    /// `None` while nothing is known of the path, or without such a transport.
    pub fn path(&self, transport: TransportKey) -> Option<PathView> {
        let slot = self.transports.get(self.find(transport)?)?;
        let path = slot.sender.path.as_ref()?;
        Some(PathView {
            estimate_bps: path.target_bps(),
            constrained: path.constrained,
            loss: path.loss(),
            feedback_rtt: path.rtt_us().map(Duration::from_micros),
        })
    }
}
