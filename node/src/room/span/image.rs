//! Where participants of a thawed room are.

use super::Span;

impl Span {
    /// Gives a participant the shard it has to be on.
    pub(in crate::room) fn seat(&mut self, number: u16, shard: usize) {
        self.members.insert(number, shard);
    }
}
