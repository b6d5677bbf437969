//! Reads transport-wide feedback of a peer (draft-holmer-rmcat-transport-wide-cc-extensions-01
//! §3.1): which of our packets arrived and when. Borrows the packet, allocates nothing; hostile
//! bytes end the walk.

/// Packets one feedback may speak of; what we remember of sent packets is not more.
const PACKETS_MAX: u16 = 8_192;
/// Microseconds of one unit of arrival time.
pub const ARRIVAL_UNIT_US: i64 = 250;
/// Reference time counts 64 ms, in 24 bits that wrap after twelve days.
const REFERENCE_UNITS: i64 = 256;
const REFERENCE_CYCLE: i64 = 1 << 24;

/// One of our packets, as the peer saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub sequence: u16,
    /// When it arrived, microseconds of the peer's clock; `None` = not (yet).
    pub arrival_us: Option<i64>,
}

/// The peer's clock, followed over wraps of the reference time.
#[derive(Clone, Copy, Debug, Default)]
pub struct ArrivalClock {
    last: Option<i64>,
}

impl ArrivalClock {
    fn extend(&mut self, reference: i64) -> i64 {
        let extended = match self.last {
            None => reference,
            Some(last) => {
                let ahead = (reference - last).rem_euclid(REFERENCE_CYCLE);
                let behind = ahead >= REFERENCE_CYCLE / 2;
                last + ahead - if behind { REFERENCE_CYCLE } else { 0 }
            }
        };
        self.last = Some(extended);
        extended
    }
}

/// Walks the packets of one feedback in order.
#[derive(Clone, Copy, Debug)]
pub struct Arrivals<'a> {
    chunks: &'a [u8],
    deltas: &'a [u8],
    sequence: u16,
    left: u16,
    /// Units of arrival time.
    time: i64,
    chunk: Chunk,
}

/// Statuses of the chunk at hand that were not read yet.
#[derive(Clone, Copy, Debug, Default)]
struct Chunk {
    word: u16,
    read: u16,
    len: u16,
}

impl Chunk {
    fn new(bytes: [u8; 2]) -> Chunk {
        let word = u16::from_be_bytes(bytes);
        let len = match (word & 0x8000, word & 0x4000) {
            (0, _) => word & 0x1fff,
            (_, 0) => 14,
            _ => 7,
        };
        Chunk { word, read: 0, len }
    }

    fn next(&mut self) -> u16 {
        let status = match (self.word & 0x8000, self.word & 0x4000) {
            (0, _) => self.word >> 13 & 3,
            (_, 0) => self.word >> (13 - self.read) & 1,
            _ => self.word >> (12 - 2 * self.read) & 3,
        };
        self.read += 1;
        status
    }
}

impl<'a> Arrivals<'a> {
    /// `body`: what follows the two SSRCs of the feedback packet.
    pub fn new(body: &'a [u8], clock: &mut ArrivalClock) -> Option<Arrivals<'a>> {
        let head: &[u8; 8] = body.first_chunk()?;
        let count = u16::from_be_bytes([head[2], head[3]]);
        if count > PACKETS_MAX {
            return None;
        }
        let rest = body.get(8..)?;
        let mut covered = 0u32;
        let mut end = 0;
        while covered < u32::from(count) {
            let bytes: &[u8; 2] = rest.get(end..)?.first_chunk()?;
            covered += u32::from(Chunk::new(*bytes).len);
            end += 2;
        }
        let reference = i64::from(u32::from_be_bytes([0, head[4], head[5], head[6]]));
        Some(Arrivals {
            chunks: rest.get(..end)?,
            deltas: rest.get(end..)?,
            sequence: u16::from_be_bytes([head[0], head[1]]),
            left: count,
            time: clock.extend(reference) * REFERENCE_UNITS,
            chunk: Chunk::default(),
        })
    }
}

impl Iterator for Arrivals<'_> {
    type Item = Told;

    fn next(&mut self) -> Option<Told> {
        if self.left == 0 {
            return None;
        }
        while self.chunk.read >= self.chunk.len {
            let (bytes, rest) = self.chunks.split_first_chunk()?;
            self.chunk = Chunk::new(*bytes);
            self.chunks = rest;
        }
        let delta = match self.chunk.next() {
            1 => {
                let (delta, rest) = self.deltas.split_first()?;
                self.deltas = rest;
                Some(i64::from(*delta))
            }
            2 => {
                let (delta, rest) = self.deltas.split_first_chunk()?;
                self.deltas = rest;
                Some(i64::from(i16::from_be_bytes(*delta)))
            }
            _ => None,
        };
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        self.left -= 1;
        Some(Told {
            sequence,
            arrival_us: delta.map(|delta| {
                self.time += delta;
                self.time * ARRIVAL_UNIT_US
            }),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::rtcp::transport_feedback::ArrivalRecorder;
    use crate::rtcp::{Packet, packets};
    use std::time::{Duration, Instant};

    #[test]
    fn what_a_receiver_recorded_is_read_back() {
        let start = Instant::now();
        let mut recorder = ArrivalRecorder::new(start);
        let arrivals = [(65_533u16, 70u64), (65_535, 95), (65_534, 99), (3, 400)];
        for (sequence, ms) in arrivals {
            recorder.record(start + Duration::from_millis(ms), sequence);
        }
        for sequence in 4..40 {
            recorder.record(start + Duration::from_millis(401), sequence);
        }
        let mut out = Vec::new();
        assert!(recorder.write(&mut out, 1, 2));
        let Some(Packet::TransportFeedback { body }) = packets(&out).next() else {
            panic!("{out:?}");
        };
        let told: Vec<Told> = Arrivals::new(body, &mut ArrivalClock::default())
            .unwrap()
            .collect();
        assert_eq!(told.len(), 43);
        for (sequence, ms) in arrivals {
            let found = told.iter().find(|t| t.sequence == sequence).unwrap();
            assert_eq!(found.arrival_us.unwrap() / 1000, ms as i64, "{sequence}");
        }
        let lost = told.iter().filter(|t| t.arrival_us.is_none());
        assert_eq!(lost.map(|t| t.sequence).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn one_bit_vectors_are_read() {
        // Base 10, 3 packets, reference 1, one-bit vector 101…, two small deltas.
        let body = [0, 10, 0, 3, 0, 0, 1, 0, 0xa8, 0x00, 4, 8];
        let clock = &mut ArrivalClock::default();
        let told: Vec<_> = Arrivals::new(&body, clock).unwrap().collect();
        let arrivals: Vec<_> = told.iter().map(|t| t.arrival_us).collect();
        assert_eq!(arrivals, [Some(65_000), None, Some(67_000)]);
    }

    #[test]
    fn the_reference_time_wraps_without_a_jump() {
        let mut clock = ArrivalClock::default();
        assert_eq!(clock.extend(0xff_ffff), 0xff_ffff);
        assert_eq!(clock.extend(1), 0x100_0001);
        assert_eq!(clock.extend(0xff_fffe), 0xff_fffe);
    }

    #[test]
    fn lies_and_truncation_end_the_walk() {
        let body = [0, 10, 0, 9, 0, 0, 1, 0, 0x20, 0x09, 4, 8];
        for end in 0..=body.len() {
            let clock = &mut ArrivalClock::default();
            let told = Arrivals::new(body.get(..end).unwrap(), clock);
            assert!(told.is_none_or(|told| told.count() <= 2));
        }
        let many = [0, 10, 0xff, 0xff, 0, 0, 1, 0, 0x1f, 0xff];
        assert!(Arrivals::new(&many, &mut ArrivalClock::default()).is_none());
    }
}
