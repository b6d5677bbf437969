//! What waits to leave for one node: audio and small frames first, then key frames, base layers,
//! the rest; within each first come, first served. Full = the oldest of the least urgent goes.

use std::collections::VecDeque;

use bytes::Bytes;
use media::relay::frame::Priority;

use crate::cluster::limits::RELAY_QUEUE_DATAGRAMS_MAX;

const CLASSES: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// By urgency.
    classes: [VecDeque<Bytes>; CLASSES],
    length: usize,
    pub(super) dropped: u64,
}

impl Queue {
    /// overflow: DROPS the oldest of the least urgent, counted; the other end asks for it again if
    /// it still matters.
    pub(super) fn push(&mut self, priority: Priority, datagram: Bytes) {
        if self.length >= RELAY_QUEUE_DATAGRAMS_MAX {
            self.dropped += 1;
            let least = self.classes.iter().rposition(|class| !class.is_empty());
            match least.filter(|least| *least >= priority as usize) {
                Some(least) => self.classes[least].pop_front(),
                None => return,
            };
            self.length -= 1;
        }
        self.classes[priority as usize].push_back(datagram);
        self.length += 1;
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let datagram = self.classes.iter_mut().find_map(VecDeque::pop_front)?;
        self.length -= 1;
        Some(datagram)
    }

    /// Nobody is there to take it.
    pub(super) fn clear(&mut self) {
        self.dropped += self.length as u64;
        self.length = 0;
        self.classes.iter_mut().for_each(VecDeque::clear);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const ALL: [Priority; CLASSES] = [
        Priority::UpperLayer,
        Priority::BaseLayer,
        Priority::KeyFrame,
        Priority::Audio,
    ];

    fn named(number: usize) -> Bytes {
        Bytes::copy_from_slice(&(number as u32).to_be_bytes())
    }

    #[test]
    fn the_urgent_overtakes_and_equals_keep_their_order() {
        let mut queue = Queue::default();
        for (number, priority) in ALL.into_iter().chain(ALL).enumerate() {
            queue.push(priority, named(number));
        }
        let out: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(out, [3, 7, 2, 6, 1, 5, 0, 4].map(named));
    }

    #[test]
    fn the_oldest_of_the_least_urgent_makes_room() {
        let mut queue = Queue::default();
        for number in 0..RELAY_QUEUE_DATAGRAMS_MAX {
            queue.push(Priority::UpperLayer, named(number));
        }
        queue.push(Priority::Audio, named(9_999));
        assert_eq!(queue.dropped, 1);
        assert_eq!(queue.pop().unwrap(), named(9_999));
        assert_eq!(queue.pop().unwrap(), named(1));

        let mut queue = Queue::default();
        for number in 0..RELAY_QUEUE_DATAGRAMS_MAX {
            queue.push(Priority::Audio, named(number));
        }
        queue.push(Priority::UpperLayer, named(9_999));
        assert_eq!((queue.dropped, queue.pop().unwrap()), (1, named(0)));
        queue.clear();
        assert!(queue.pop().is_none());
    }
}
