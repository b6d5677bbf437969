//! What was sent under each transport-wide sequence number, until the subscriber's feedback speaks
//! of it: a ring of 16-byte entries that grows with the rate. Written once per packet sent.

use crate::limits::{SENT_PACKETS_MAX, SENT_PACKETS_MIN, SENT_REMEMBERED_US};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fate {
    #[default]
    Flying,
    /// Feedback says it did not arrive; a later one may say it did.
    Lost,
    Arrived,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SentPacket {
    pub(crate) at_us: u64,
    /// As sealed, with the headers below.
    pub(crate) bytes: u16,
    /// Number of the probe it belongs to; 0 = none.
    pub(crate) probe: u8,
    pub(crate) fate: Fate,
}

#[derive(Debug)]
pub(crate) struct SentPackets {
    /// Slot = number modulo length, a power of two; empty until something is sent.
    slots: Vec<SentPacket>,
    /// The next packet's number; the wire has its lower 16 bits.
    next: u64,
}

impl Default for SentPackets {
    fn default() -> Self {
        SentPackets {
            slots: Vec::new(),
            // One cycle up, so that a late number never goes below zero.
            next: 0x1_0000,
        }
    }
}

impl SentPackets {
    /// The number the next packet is to carry.
    pub(crate) fn next_wire(&self) -> u16 {
        self.next as u16
    }

    /// Goes on from another node's numbers.
    pub(crate) fn begin_at(&mut self, wire: u16) {
        self.next = 0x1_0000 + u64::from(wire);
    }

    pub(crate) fn push(&mut self, packet: SentPacket) {
        let len = self.slots.len();
        let index = self.next as usize & len.wrapping_sub(1);
        let unheard = self.slots.get(index).is_none_or(|old| {
            old.bytes > 0
                && old.fate == Fate::Flying
                && packet.at_us.saturating_sub(old.at_us) < SENT_REMEMBERED_US
        });
        if unheard && len < SENT_PACKETS_MAX {
            self.grow();
        }
        let index = self.next as usize & self.slots.len().wrapping_sub(1);
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = packet;
        }
        self.next += 1;
    }

    /// The packet a feedback means: the last one sent with that number on the wire.
    pub(crate) fn get_mut(&mut self, wire: u16) -> Option<&mut SentPacket> {
        let age = u64::from(self.next_wire().wrapping_sub(wire));
        if age == 0 || age > self.slots.len() as u64 {
            return None;
        }
        let number = self.next.checked_sub(age)?;
        let index = number as usize & self.slots.len().checked_sub(1)?;
        self.slots.get_mut(index).filter(|slot| slot.bytes > 0)
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        let len = (old.len() * 2).max(SENT_PACKETS_MIN);
        self.slots.resize(len, SentPacket::default());
        for age in 1..=old.len() as u64 {
            let number = self.next.wrapping_sub(age);
            let from = old.get(number as usize & (old.len() - 1));
            let to = self.slots.get_mut(number as usize & (len - 1));
            if let (Some(from), Some(to)) = (from, to) {
                *to = *from;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_found_by_their_wire_number_over_growth_and_wraps() {
        let mut sent = SentPackets::default();
        for index in 0..70_000u64 {
            let packet = SentPacket {
                at_us: index * 1_000,
                bytes: 1_200,
                ..SentPacket::default()
            };
            let wire = sent.next_wire();
            sent.push(packet);
            assert_eq!(sent.get_mut(wire).unwrap().at_us, index * 1_000);
            if let Some(old) = sent.get_mut(wire.wrapping_sub(200)) {
                assert_eq!(old.at_us, (index - 200) * 1_000);
                old.fate = Fate::Arrived;
            }
            assert!(sent.get_mut(wire.wrapping_add(1)).is_none(), "not sent yet");
        }
        assert_eq!(sent.slots.len(), SENT_PACKETS_MIN);
    }

    #[test]
    fn silence_of_the_receiver_makes_it_grow_to_its_bound() {
        let mut sent = SentPackets::default();
        for index in 0..100_000u64 {
            sent.push(SentPacket {
                at_us: index * 10,
                bytes: 100,
                ..SentPacket::default()
            });
        }
        assert_eq!(sent.slots.len(), SENT_PACKETS_MAX);
    }
}
