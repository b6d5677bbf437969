//! Which transports something is due for, earliest first: timers of their protocols, or their pace.
//! An entry that its transport no longer stands by is left where it is; whoever takes it looks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Due {
    heap: BinaryHeap<Reverse<(Instant, u32)>>,
}

impl Due {
    pub(super) fn insert(&mut self, at: Instant, index: u32) {
        self.heap.push(Reverse((at, index)));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// The earliest entry that is due.
    pub(super) fn take(&mut self, now: Instant) -> Option<(Instant, u32)> {
        self.next().filter(|at| *at <= now)?;
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// Forgets everything due for a transport that ends.
    pub(super) fn forget(&mut self, index: u32) {
        self.heap.retain(|Reverse((_, known))| *known != index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_due_comes_in_the_order_of_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut due = Due::default();
        for (ms, index) in [(30, 1), (10, 2), (20, 3), (25, 4)] {
            due.insert(at(ms), index);
        }
        due.forget(3);
        assert_eq!(due.next(), Some(at(10)));
        assert_eq!(due.take(at(9)), None);
        let taken: Vec<_> = std::iter::from_fn(|| due.take(at(25))).collect();
        assert_eq!(taken, [(at(10), 2), (at(25), 4)]);
        assert_eq!(due.next(), Some(at(30)));
    }
}
