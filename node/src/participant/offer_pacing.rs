//! When the server may offer: many changes share one offer, and only one waits for its answer. The
//! subscriber connection of `/rtc` asks it; it knows no SDP.

use std::time::Instant;

use super::limits::{ANSWER_TIMEOUT, OFFER_DELAY, OFFER_INTERVAL};

#[derive(Debug)]
pub(crate) struct OfferPacing {
    /// Of the next offer; starts at random and counts up, so that a client's stale answer is told
    /// from a current one.
    next_id: u32,
    /// Id and time of the offer that waits for its answer.
    outstanding: Option<(u32, Instant)>,
    last_offer: Option<Instant>,
    due: Option<Instant>,
    /// Something changed while an offer was outstanding.
    again: bool,
}

impl OfferPacing {
    pub(crate) fn new(first_id: u32) -> Self {
        Self {
            next_id: first_id.max(1),
            outstanding: None,
            last_offer: None,
            due: None,
            again: false,
        }
    }

    /// Ids of the next offer and of the one that waits for its answer; 0 = none waits.
    pub(crate) fn ids(&self) -> (u32, u32) {
        (self.next_id, self.outstanding_id().unwrap_or(0))
    }

    /// Goes on from those ids: the client has as long for its answer as if it were asked now.
    pub(crate) fn thaw(&mut self, now: Instant, next_id: u32, outstanding: u32) {
        self.next_id = next_id.max(1);
        self.outstanding = (outstanding > 0).then_some((outstanding, now));
    }

    /// Something changed that the client must be offered.
    pub(crate) fn request(&mut self, now: Instant) {
        if self.outstanding.is_some() {
            self.again = true;
            return;
        }
        let earliest = self.last_offer.map(|last| last + OFFER_INTERVAL);
        let soon = now + OFFER_DELAY;
        let due = earliest.map_or(soon, |earliest| earliest.max(soon));
        self.due = Some(self.due.map_or(due, |current| current.min(due)));
    }

    /// Offer without waiting for company (first offer, ICE restart); forgets the outstanding one.
    pub(crate) fn request_now(&mut self, now: Instant) {
        self.outstanding = None;
        self.again = false;
        self.due = Some(now);
    }

    /// The time has come: the id of the offer to send now.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<u32> {
        if self.outstanding.is_some() || self.due.is_none_or(|due| due > now) {
            return None;
        }
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1).max(1);
        self.due = None;
        self.again = false;
        self.last_offer = Some(now);
        self.outstanding = Some((id, now));
        Some(id)
    }

    /// The offer could not be written after all.
    pub(crate) fn abandon(&mut self) {
        self.outstanding = None;
    }

    /// The client answered; what changed meanwhile is offered next.
    pub(crate) fn answered(&mut self, now: Instant) {
        self.outstanding = None;
        if std::mem::take(&mut self.again) {
            self.request(now);
        }
    }

    pub(crate) fn outstanding_id(&self) -> Option<u32> {
        self.outstanding.map(|(id, _)| id)
    }

    pub(crate) fn answer_overdue(&self, now: Instant) -> bool {
        self.outstanding
            .is_some_and(|(_, since)| now.saturating_duration_since(since) >= ANSWER_TIMEOUT)
    }

    /// `watch_answer`: an overdue answer matters (the connection is up).
    pub(crate) fn deadline(&self, watch_answer: bool) -> Option<Instant> {
        match self.outstanding {
            Some((_, since)) => watch_answer.then(|| since + ANSWER_TIMEOUT),
            None => self.due,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn changes_of_one_moment_share_an_offer_and_ids_count_up() {
        let start = Instant::now();
        let mut pacing = OfferPacing::new(7);
        pacing.request(start);
        pacing.request(start + MS);
        assert_eq!(pacing.take_due(start + MS), None);
        assert_eq!(pacing.take_due(start + OFFER_DELAY), Some(7));
        pacing.answered(start + 20 * MS);
        pacing.request(start + 20 * MS);
        assert_eq!(
            pacing.deadline(true),
            Some(start + OFFER_DELAY + OFFER_INTERVAL)
        );
        assert_eq!(pacing.take_due(start + 200 * MS), Some(8));
    }

    #[test]
    fn only_one_offer_waits_for_its_answer() {
        let start = Instant::now();
        let mut pacing = OfferPacing::new(1);
        pacing.request_now(start);
        assert!(pacing.take_due(start).is_some());
        pacing.request(start + MS);
        assert_eq!(pacing.take_due(start + 1000 * MS), None);
        assert_eq!(pacing.deadline(false), None);
        pacing.answered(start + 1000 * MS);
        assert!(pacing.take_due(start + 1010 * MS).is_some());
    }

    #[test]
    fn an_answer_is_overdue_after_its_timeout_and_a_restart_forgets_it() {
        let start = Instant::now();
        let mut pacing = OfferPacing::new(1);
        pacing.request_now(start);
        pacing.take_due(start).unwrap();
        assert!(!pacing.answer_overdue(start + ANSWER_TIMEOUT - MS));
        assert!(pacing.answer_overdue(start + ANSWER_TIMEOUT));
        pacing.request_now(start + ANSWER_TIMEOUT);
        assert!(!pacing.answer_overdue(start + ANSWER_TIMEOUT));
        assert!(pacing.take_due(start + ANSWER_TIMEOUT).is_some());
    }
}
