//! The sending side of one transport: packets waiting to be forwarded, and which SSRC of ours is
//! which down track when the subscriber talks about it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::bandwidth::pacer::Pacer;
use crate::bandwidth::send_side::SendSide;
use crate::downstream::playout_delay::PlayoutDelayControl;
use crate::fast_hash::FastMap;
use crate::limits::{RETRANSMISSION_INTERVAL_MAX, RTT_DEFAULT, SEND_QUEUE_PACKETS_MAX};
use crate::types::BandwidthPolicy;

/// A packet to be forwarded: a reference into a layer's cache, not a copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) down_track: u32,
    pub(crate) layer: u8,
    /// A repeat: `sequence` is the subscriber's, else the layer's.
    pub(crate) repeat: bool,
    /// Audio.
    pub(crate) urgent: bool,
    pub(crate) sequence: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Sender {
    /// Audio: sent in the next turn and never paced.
    urgent: VecDeque<Pending>,
    repeats: VecDeque<Pending>,
    queue: VecDeque<Pending>,
    /// Listed among the transports that have something to send.
    pub(crate) listed: bool,
    /// Listed among those that wait for their pace, until then.
    pub(crate) paced: Option<Instant>,
    pub(crate) pacer: Pacer,
    /// What is known of the path; begins with the first packet that can be reported on.
    pub(crate) path: Option<Box<SendSide>>,
    /// Where transport-wide numbers begin, after another node's.
    pub(crate) first_wire: Option<u16>,
    pub(crate) down_tracks: Vec<u32>,
    ssrcs: FastMap<u32, u32>,
    pub(crate) rtt: Option<Duration>,
    /// The receiver's estimate of its bandwidth, bits per second.
    pub(crate) remb_bps: Option<u64>,
    pub(crate) policy: BandwidthPolicy,
    /// `None`: the client chooses by itself.
    pub(crate) playout_delay: Option<PlayoutDelayControl>,
}

impl Sender {
    /// Queues a packet; false when the queue is full. overflow: the newest is dropped, a NACK or a
    /// key frame repairs it.
    pub(crate) fn push(&mut self, pending: Pending) -> bool {
        let room = self.waiting() < SEND_QUEUE_PACKETS_MAX;
        match room {
            true if pending.urgent => self.urgent.push_back(pending),
            true if pending.repeat => self.repeats.push_back(pending),
            true => self.queue.push_back(pending),
            false => {}
        }
        room
    }

    /// Packets that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.urgent.len() + self.repeats.len() + self.queue.len()
    }

    /// The next packet that may leave now. Audio is the tail of a run: it is shorter than video,
    /// and a run ends with its first shorter packet. `run_ends`: the run takes one more packet.
    pub(crate) fn next(&mut self, run_ends: bool) -> Option<Pending> {
        let audio_now = run_ends || !self.pacer.may_send();
        if audio_now && let Some(audio) = self.urgent.pop_front() {
            return Some(audio);
        }
        let video = match self.pacer.may_send() {
            true => self.repeats.pop_front().or_else(|| self.queue.pop_front()),
            false => None,
        };
        video.or_else(|| self.urgent.pop_front())
    }

    /// Brings the pace up to date before a turn.
    pub(crate) fn set_pace(&mut self, now_us: u64) {
        let (probe_bps, pace_bps) = match &self.path {
            Some(path) => (path.probe_bps(), path.pace_bps(now_us)),
            None => (None, None),
        };
        self.pacer.refill(now_us);
        self.pacer.set(probe_bps, pace_bps, self.waiting());
    }

    /// Whether one more packet is within what repeats may use.
    pub(crate) fn may_repeat(&mut self, now_us: u64) -> bool {
        let path = self.path.as_mut();
        path.is_none_or(|path| path.may_repeat(now_us))
    }

    pub(crate) fn repeats(&mut self, now_us: u64) {
        if let Some(path) = &mut self.path {
            path.repeats(now_us);
        }
    }

    /// There is nothing a probe could consist of.
    pub(crate) fn stop_probe(&mut self) {
        if let Some(path) = &mut self.path {
            path.stop_probe();
        }
    }

    /// A sealed packet leaves.
    pub(crate) fn sent(&mut self, now_us: u64, bytes: usize, numbered: bool) {
        self.pacer.spend(bytes);
        if numbered {
            self.path().sent(now_us, bytes);
        } else if let Some(path) = &mut self.path {
            path.sent_unnumbered(now_us, bytes);
        }
    }

    /// What is known of the path, from now on.
    pub(crate) fn path(&mut self) -> &mut SendSide {
        let first = self.first_wire.take();
        let path = self.path.get_or_insert_default();
        if let Some(wire) = first {
            path.begin_at(wire);
        }
        path
    }

    /// Transport-wide number of the next packet.
    pub(crate) fn next_wire(&self) -> u16 {
        let first = self.first_wire.unwrap_or(0);
        self.path.as_ref().map_or(first, |path| path.next_wire())
    }

    /// The rate of the probe being sent.
    pub(crate) fn probe_bps(&self) -> Option<u64> {
        self.path.as_ref()?.probe_bps()
    }

    /// Something could leave now.
    pub(crate) fn is_due(&self) -> bool {
        !self.urgent.is_empty() || !self.is_idle() && self.pacer.may_send()
    }

    /// Nothing waits: a probe may be filled up.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting() == 0
    }

    /// Forgets what waits; returns how much that was.
    pub(crate) fn drop_all(&mut self) -> usize {
        let count = self.waiting();
        self.urgent.clear();
        self.repeats.clear();
        self.queue.clear();
        count
    }

    /// Forgets what waits of a track whose layer is left at once.
    pub(crate) fn drop_waiting(&mut self, down_track: u32) {
        let others = |pending: &Pending| pending.down_track != down_track;
        self.repeats.retain(others);
        self.queue.retain(others);
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
        self.urgent
            .retain(|pending| pending.down_track != down_track);
        self.drop_waiting(down_track);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(audio: usize, video: usize) -> Sender {
        let mut sender = Sender::default();
        for number in 0..audio + video {
            sender.push(Pending {
                down_track: 0,
                layer: 0,
                repeat: false,
                urgent: number < audio,
                sequence: number as u64,
            });
        }
        sender
    }

    fn urgent(sender: &mut Sender, run_ends: bool) -> Option<bool> {
        sender.next(run_ends).map(|pending| pending.urgent)
    }

    #[test]
    fn audio_ends_the_run_that_video_begins() {
        let mut sender = sender(1, 3);
        sender.pacer.refill(1_000_000);
        let order = [false, false, true, false].map(|run_ends| urgent(&mut sender, run_ends));
        assert_eq!(order, [Some(false), Some(false), Some(true), Some(false)]);
        assert_eq!(urgent(&mut sender, false), None);
    }

    #[test]
    fn audio_does_not_wait_for_video_that_waits_for_its_pace() {
        let mut sender = sender(2, 1);
        let order = [(); 3].map(|()| urgent(&mut sender, false));
        assert_eq!(order, [Some(true), Some(true), None]);
    }
}
