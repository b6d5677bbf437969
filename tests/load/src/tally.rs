//! What all receivers of a run counted together, and how far every join came. Filled by `peer`,
//! read by the orchestrator through `media_loop`.

use std::time::Instant;

use media::types::MediaKind;

/// Latency samples kept of one window: beyond, the rest is not representative anyway.
const SAMPLES_MAX: usize = 4_000_000;

#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Datagrams with media or retransmissions that reached a subscriber's socket.
    pub(crate) forwarded: u64,
    pub(crate) bytes: u64,
    pub(crate) retransmissions: u64,
    /// Thrown away on purpose, as a lossy network would.
    pub(crate) dropped: u64,
    pub(crate) duplicates: u64,
    pub(crate) unknown: u64,
    pub(crate) checked: u64,
    /// Decrypted, but not what was sent.
    pub(crate) wrong: u64,
    pub(crate) sent: u64,
    pub(crate) key_frames_asked: u64,
    pub(crate) nacked_by_server: u64,
    /// Microseconds from send stamp to the kernel's receive stamp.
    pub(crate) video_us: Vec<u32>,
    pub(crate) audio_us: Vec<u32>,
    /// Wish for a layer to its first packet, and timestamps that went backwards or leapt.
    pub(crate) switches_us: Vec<u32>,
    pub(crate) timestamp_leaps: u64,
    /// Sums over all streams, filled in when asked for.
    pub(crate) expected: u64,
    pub(crate) received: u64,
    pub(crate) repaired: u64,
    pub(crate) failed: u64,
}

impl Tally {
    pub(crate) fn latency(&mut self, kind: MediaKind, micros: i64) {
        let samples = match kind {
            MediaKind::Audio => &mut self.audio_us,
            MediaKind::Video => &mut self.video_us,
        };
        if samples.len() < SAMPLES_MAX {
            samples.push(u32::try_from(micros.max(0)).unwrap_or(u32::MAX));
        }
    }

    /// What happened since `before`; samples and switches are those of `self`.
    pub(crate) fn since(mut self, before: &Tally) -> Tally {
        for (now, then) in [
            (&mut self.forwarded, before.forwarded),
            (&mut self.bytes, before.bytes),
            (&mut self.retransmissions, before.retransmissions),
            (&mut self.dropped, before.dropped),
            (&mut self.duplicates, before.duplicates),
            (&mut self.unknown, before.unknown),
            (&mut self.checked, before.checked),
            (&mut self.wrong, before.wrong),
            (&mut self.sent, before.sent),
            (&mut self.key_frames_asked, before.key_frames_asked),
            (&mut self.nacked_by_server, before.nacked_by_server),
            (&mut self.timestamp_leaps, before.timestamp_leaps),
            (&mut self.expected, before.expected),
            (&mut self.received, before.received),
            (&mut self.repaired, before.repaired),
        ] {
            *now = now.saturating_sub(then);
        }
        self
    }

    /// Never arrived, neither at first nor repaired, of what should have; those thrown away on
    /// purpose count where they were not repaired.
    pub(crate) fn loss(&self) -> f64 {
        let arrived = self.received + self.repaired;
        self.expected.saturating_sub(arrived) as f64 / self.expected.max(1) as f64
    }
}

/// How far one subscriber came, from the moment it began to join.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) began: Instant,
    pub(crate) connected: Option<Instant>,
    pub(crate) first_packet: Option<Instant>,
    pub(crate) flowing: Option<Instant>,
}
