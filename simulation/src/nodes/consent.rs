//! Who is at the other end of a transport, and whether it still answers checks (RFC 7675): somebody
//! who left answers nobody, also not a home that took its transports over and never heard of the
//! farewell. Owned by `judge`; carriers ask it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::limits::UNANSWERED_MS;

/// Who made one end of a connection, and the how manieth of its ends it is.
type End = (u64, u64);

/// The ICE username of an end.
pub(crate) fn ufrag(person: u64, generation: u64) -> String {
    format!("c{person}g{generation}")
}

fn end_of(ufrag: &str) -> Option<End> {
    let (person, generation) = ufrag.strip_prefix('c')?.split_once('g')?;
    Some((person.parse().ok()?, generation.parse().ok()?))
}

#[derive(Debug, Default)]
pub(crate) struct Consent {
    /// By secret of a transport.
    ends: BTreeMap<u64, End>,
    /// By person: its newest end when it left last, and when that was.
    left: BTreeMap<u64, (u64, Duration)>,
}

impl Consent {
    /// A node was told of the other end of a transport.
    pub(crate) fn meets(&mut self, secret: u64, ufrag: &str) {
        if let Some(end) = end_of(ufrag) {
            self.ends.insert(secret, end);
        }
    }

    /// Who it is, and the how manieth of its ends.
    pub(crate) fn end(&self, secret: u64) -> Option<(u64, u64)> {
        self.ends.get(&secret).copied()
    }

    /// Somebody went, and has all its ends closed, `generation` and those before.
    pub(crate) fn left(&mut self, person: u64, generation: u64, now: Duration) {
        self.left.insert(person, (generation, now));
    }

    /// Nobody has answered this transport for too long.
    pub(crate) fn is_over(&self, secret: u64, now: Duration) -> bool {
        let Some((person, generation)) = self.ends.get(&secret) else {
            return false;
        };
        let left = self.left.get(person);
        let unanswered = Duration::from_millis(UNANSWERED_MS);
        left.is_some_and(|(newest, at)| generation <= newest && *at + unanswered <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_left_answers_no_more_after_a_while_and_whoever_came_back_does() {
        let mut consent = Consent::default();
        let at = |ms| Duration::from_millis(1_000 + ms);
        consent.meets(1, &ufrag(7, 3));
        consent.meets(2, &ufrag(8, 3));
        consent.meets(3, "somebody else's");
        consent.left(7, 3, at(0));
        consent.meets(4, &ufrag(7, 4));
        let over = |ms| [1, 2, 3, 4].map(|secret| consent.is_over(secret, at(ms)));
        assert_eq!(over(UNANSWERED_MS - 1), [false; 4]);
        assert_eq!(over(UNANSWERED_MS), [true, false, false, false]);
    }
}
