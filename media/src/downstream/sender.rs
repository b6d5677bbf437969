//! The sending side of one transport: packets waiting to be forwarded, and which SSRC of ours is
//! which down track when the subscriber talks about it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::fast_hash::FastMap;
use crate::limits::{RETRANSMISSION_INTERVAL_MAX, RTT_DEFAULT, SEND_QUEUE_PACKETS_MAX};

/// A packet to be forwarded: a reference into a layer's cache, not a copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) down_track: u32,
    pub(crate) layer: u8,
    /// A repeat: `sequence` is the subscriber's, else the layer's.
    pub(crate) repeat: bool,
    pub(crate) sequence: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Sender {
    pub(crate) queue: VecDeque<Pending>,
    /// Listed among the transports that have something to send.
    pub(crate) listed: bool,
    pub(crate) down_tracks: Vec<u32>,
    ssrcs: FastMap<u32, u32>,
    pub(crate) transport_cc: u16,
    pub(crate) rtt: Option<Duration>,
    /// The receiver's estimate of its bandwidth, bits per second.
    pub(crate) remb_bps: Option<u64>,
}

impl Sender {
    /// Queues a packet; false when the queue is full. overflow: the newest is dropped, a NACK or a
    /// key frame repairs it.
    pub(crate) fn push(&mut self, pending: Pending) -> bool {
        let room = self.queue.len() < SEND_QUEUE_PACKETS_MAX;
        if room {
            self.queue.push_back(pending);
        }
        room
    }

    pub(crate) fn add(&mut self, down_track: u32, ssrc: u32, rtx_ssrc: Option<u32>) {
        self.down_tracks.push(down_track);
        self.ssrcs.insert(ssrc, down_track);
        if let Some(ssrc) = rtx_ssrc {
            self.ssrcs.insert(ssrc, down_track);
        }
    }

    pub(crate) fn remove(&mut self, down_track: u32) {
        self.down_tracks.retain(|known| *known != down_track);
        self.ssrcs.retain(|_, known| *known != down_track);
        self.queue
            .retain(|pending| pending.down_track != down_track);
    }

    pub(crate) fn by_ssrc(&self, ssrc: u32) -> Option<u32> {
        self.ssrcs.get(&ssrc).copied()
    }

    pub(crate) fn rtt_or_default(&self) -> Duration {
        self.rtt.unwrap_or(RTT_DEFAULT)
    }

    /// Least time between two repeats of one packet.
    pub(crate) fn repeat_interval(&self) -> Duration {
        self.rtt_or_default().min(RETRANSMISSION_INTERVAL_MAX)
    }

    pub(crate) fn measured_rtt(&mut self, rtt: Duration) {
        // Smoothed as in RFC 6298: one late report must not double every timer.
        self.rtt = Some(self.rtt.map_or(rtt, |old| (old * 7 + rtt) / 8));
    }
}
