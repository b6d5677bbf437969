//! Extends wrapping counters of the wire (16-bit sequence numbers, 15-bit picture ids) to 64 bits,
//! so that the rest of the crate compares and subtracts without thinking of the wrap.

/// Follows one counter of `BITS` bits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extender<const BITS: u32> {
    highest: Option<u64>,
}

impl<const BITS: u32> Extender<BITS> {
    const CYCLE: u64 = 1 << BITS;

    /// The extended value nearest to the highest one seen; does not move that.
    pub fn peek(&self, value: u16) -> u64 {
        let value = u64::from(value) & (Self::CYCLE - 1);
        let Some(highest) = self.highest else {
            return Self::CYCLE + value; // one cycle up, so that older values stay positive
        };
        let near = (highest & !(Self::CYCLE - 1)) | value;
        if near + Self::CYCLE / 2 < highest {
            near + Self::CYCLE
        } else if near > highest + Self::CYCLE / 2 && near >= Self::CYCLE {
            near - Self::CYCLE
        } else {
            near
        }
    }

    pub fn extend(&mut self, value: u16) -> u64 {
        let extended = self.peek(value);
        if self.highest.is_none_or(|highest| extended > highest) {
            self.highest = Some(extended);
        }
        extended
    }

    /// Goes on from `value` in a later cycle, whatever came before.
    pub fn restart(&mut self, value: u16) -> u64 {
        let cycle = self.highest.map_or(1, |highest| highest / Self::CYCLE + 2);
        let extended = cycle * Self::CYCLE + (u64::from(value) & (Self::CYCLE - 1));
        self.highest = Some(extended);
        extended
    }

    /// Takes a number that was extended elsewhere and cut to 32 bits.
    pub fn follow(&mut self, value: u32) -> u64 {
        const CYCLE: u64 = 1 << 32;
        let extended = match self.highest {
            // One cycle up, so that older values stay positive.
            None => CYCLE + u64::from(value),
            Some(highest) => {
                let ahead = value.wrapping_sub(highest as u32) as i32;
                highest.saturating_add_signed(i64::from(ahead))
            }
        };
        if self.highest.is_none_or(|highest| extended > highest) {
            self.highest = Some(extended);
        }
        extended
    }

    pub fn highest(&self) -> Option<u64> {
        self.highest
    }
}

/// RTP sequence numbers.
pub type SequenceExtender = Extender<16>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_forward_and_accepts_late_packets_of_the_previous_cycle() {
        let mut extender = SequenceExtender::default();
        let first = extender.extend(65_534);
        assert_eq!(extender.extend(65_535), first + 1);
        assert_eq!(extender.extend(1), first + 3);
        assert_eq!(extender.extend(65_533), first - 1);
        assert_eq!(extender.extend(0), first + 2);
        assert_eq!(extender.highest(), Some(first + 3));
    }

    #[test]
    fn a_packet_from_before_the_first_one_does_not_underflow() {
        let mut extender = SequenceExtender::default();
        let first = extender.extend(0);
        assert_eq!(extender.extend(65_535), first - 1);
    }
}
