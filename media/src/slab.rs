//! Dense storage with stable indexes for transports, tracks and down tracks: the hot path goes from
//! one to the other by index, never by hashing a key. Grows by small chunks: nothing that is in use
//! moves, and little is set aside.

/// Values of one chunk.
const CHUNK: usize = 4;

#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Box<[Option<T>]>>,
    free: Vec<u32>,
    end: u32,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab {
            chunks: Vec::new(),
            free: Vec::new(),
            end: 0,
        }
    }
}

impl<T> Slab<T> {
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            let index = self.end;
            self.end += 1;
            if index as usize == self.chunks.len() * CHUNK {
                self.chunks.push((0..CHUNK).map(|_| None).collect());
            }
            index
        });
        if let Some(slot) = self.slot_mut(index) {
            *slot = Some(value);
        }
        index
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        let value = self.slot_mut(index)?.take()?;
        self.free.push(index);
        Some(value)
    }

    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        let index = index as usize;
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.slot_mut(index)?.as_mut()
    }

    fn slot_mut(&mut self, index: u32) -> Option<&mut Option<T>> {
        let index = index as usize;
        self.chunks.get_mut(index / CHUNK)?.get_mut(index % CHUNK)
    }

    /// In index order, so that runs with one seed are alike.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..)
            .zip(self.chunks.iter().flatten())
            .filter_map(|(index, slot)| Some((index, slot.as_ref()?)))
    }

    /// One past the highest index ever used.
    pub(crate) fn end(&self) -> u32 {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_stable_and_freed_ones_are_used_again() {
        let mut slab = Slab::default();
        let indexes: Vec<u32> = (0..2 * CHUNK + 1).map(|value| slab.insert(value)).collect();
        let expected: Vec<u32> = (0..=2 * CHUNK as u32).collect();
        assert_eq!(indexes, expected);
        let middle = CHUNK as u32;
        assert_eq!(slab.remove(middle), Some(CHUNK));
        assert_eq!(slab.remove(middle), None);
        let left: Vec<u32> = slab.iter().map(|(index, _)| index).collect();
        assert!(!left.contains(&middle) && left.len() == 2 * CHUNK);
        assert_eq!(slab.insert(77), middle);
        assert_eq!(slab.get(middle), Some(&77));
        assert_eq!(slab.end(), 2 * CHUNK as u32 + 1);
    }

    #[test]
    fn what_was_never_inserted_is_not_there() {
        let mut slab = Slab::default();
        slab.insert(1);
        for index in [1, CHUNK as u32, u32::MAX] {
            assert_eq!(slab.get(index), None);
            assert_eq!(slab.remove(index), None);
        }
        assert_eq!(slab.insert(2), 1);
    }
}
