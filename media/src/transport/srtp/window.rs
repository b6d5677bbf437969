//! Which packet indexes of a stream were used: a sliding bitmap of `WORDS * 64` indexes.

#[derive(Clone, Debug)]
pub(in crate::transport) struct Window<const WORDS: usize> {
    highest: Option<u64>,
    /// Bit `index % size` of the last `size` indexes.
    bits: [u64; WORDS],
}

impl<const WORDS: usize> Default for Window<WORDS> {
    fn default() -> Window<WORDS> {
        Window {
            highest: None,
            bits: [0; WORDS],
        }
    }
}

impl<const WORDS: usize> Window<WORDS> {
    const SIZE: u64 = WORDS as u64 * 64;

    /// A window in which every index up to `highest` counts as used.
    pub(in crate::transport) fn all_used(highest: u64) -> Window<WORDS> {
        Window {
            highest: Some(highest),
            bits: [u64::MAX; WORDS],
        }
    }

    pub(in crate::transport) fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Surely not used yet; indexes older than the window are not fresh.
    pub(in crate::transport) fn is_fresh(&self, index: u64) -> bool {
        match self.highest {
            None => true,
            Some(highest) if index > highest => true,
            Some(highest) => highest - index < Self::SIZE && !self.bit(index),
        }
    }

    pub(in crate::transport) fn mark(&mut self, index: u64) {
        match self.highest {
            Some(highest) if index <= highest => {
                if highest - index >= Self::SIZE {
                    return;
                }
            }
            Some(highest) if index - highest < Self::SIZE => {
                for skipped in highest + 1..index {
                    self.set(skipped, false);
                }
                self.highest = Some(index);
            }
            _ => {
                self.bits = [0; WORDS];
                self.highest = Some(index);
            }
        }
        self.set(index, true);
    }

    fn bit(&self, index: u64) -> bool {
        let at = index % Self::SIZE;
        self.bits[(at / 64) as usize] >> (at % 64) & 1 == 1
    }

    fn set(&mut self, index: u64, value: bool) {
        let at = index % Self::SIZE;
        let (word, bit) = ((at / 64) as usize, 1u64 << (at % 64));
        if value {
            self.bits[word] |= bit;
        } else {
            self.bits[word] &= !bit;
        }
    }
}
