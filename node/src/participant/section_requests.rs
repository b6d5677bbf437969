//! `/rtc/v1`: the server cannot offer, so it asks the client for sections, or for a mere offer
//! (0/0). Decides when and for how many; never asks twice for what it asked for already.

use std::time::Instant;

use media::negotiate::SectionsRequired;

use super::image::records::{MediaRecord, session};
use super::limits::{OFFER_DELAY, OFFER_INTERVAL};

#[derive(Debug, Default)]
pub(crate) struct SectionRequests {
    /// The client has offered once: before that, its offer is on its way anyway.
    offered: bool,
    /// Asked for since the last offer.
    asked: SectionsRequired,
    /// An offer was asked for and has not come.
    outstanding: bool,
    due: Option<Instant>,
    last: Option<Instant>,
}

impl SectionRequests {
    /// For a record: what was asked for, and the bits of [`session`].
    pub(crate) fn asked(&self) -> (SectionsRequired, u32) {
        let offered = if self.offered { session::OFFERED } else { 0 };
        let asked = if self.outstanding { session::ASKED } else { 0 };
        (self.asked, offered | asked)
    }

    pub(crate) fn thaw(&mut self, record: &MediaRecord) {
        self.offered = record.session & session::OFFERED != 0;
        self.outstanding = record.session & session::ASKED != 0;
        self.asked = SectionsRequired {
            audios: record.asked_audios,
            videos: record.asked_videos,
        };
    }

    /// The request may never have reached the client: it is made again.
    pub(crate) fn ask_again(&mut self, now: Instant) {
        if std::mem::take(&mut self.outstanding) {
            self.asked = SectionsRequired::default();
            self.request(now);
        }
    }

    /// Something changed that the next answer must carry.
    pub(crate) fn request(&mut self, now: Instant) {
        if !self.offered {
            return;
        }
        let soon = now + OFFER_DELAY;
        let earliest = self
            .last
            .map_or(soon, |last| soon.max(last + OFFER_INTERVAL));
        self.due = Some(self.due.map_or(earliest, |due| due.min(earliest)));
    }

    /// An offer of the client was answered: all counts begin anew.
    pub(crate) fn offer_answered(&mut self) {
        self.offered = true;
        self.asked = SectionsRequired::default();
        self.outstanding = false;
        self.due = None;
    }

    /// The request to send now. `required`: sections the senders lack; `None` when none waits.
    /// `stale`: the client has to offer although no sender lacks anything.
    pub(crate) fn take_due(
        &mut self,
        now: Instant,
        required: Option<SectionsRequired>,
        stale: bool,
    ) -> Option<SectionsRequired> {
        if self.due.is_none_or(|due| due > now) {
            return None;
        }
        self.due = None;
        if required.is_none() && !stale {
            return None;
        }
        let required = required.unwrap_or_default();
        let ask = SectionsRequired {
            audios: required.audios.saturating_sub(self.asked.audios),
            videos: required.videos.saturating_sub(self.asked.videos),
        };
        if self.outstanding && ask == SectionsRequired::default() {
            return None;
        }
        self.asked.audios += ask.audios;
        self.asked.videos += ask.videos;
        self.outstanding = true;
        self.last = Some(now);
        Some(ask)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn sections(audios: u32, videos: u32) -> SectionsRequired {
        SectionsRequired { audios, videos }
    }

    #[test]
    fn nothing_is_asked_before_the_first_offer() {
        let now = Instant::now();
        let mut requests = SectionRequests::default();
        requests.request(now);
        assert_eq!(requests.deadline(), None);
    }

    #[test]
    fn what_was_asked_for_is_not_asked_for_again() {
        let start = Instant::now();
        let later = |ms| start + Duration::from_millis(ms);
        let mut requests = SectionRequests::default();
        requests.offer_answered();
        requests.request(start);
        let asked = requests.take_due(later(10), Some(sections(1, 0)), false);
        assert_eq!(asked, Some(sections(1, 0)));
        requests.request(later(20));
        assert_eq!(
            requests.take_due(later(500), Some(sections(1, 0)), false),
            None
        );
        requests.request(later(600));
        let asked = requests.take_due(later(900), Some(sections(1, 2)), false);
        assert_eq!(asked, Some(sections(0, 2)));
        requests.offer_answered();
        requests.request(later(1000));
        let asked = requests.take_due(later(2000), Some(sections(1, 0)), false);
        assert_eq!(asked, Some(sections(1, 0)), "the offer crossed the request");
    }

    #[test]
    fn free_sections_or_a_removal_need_a_mere_offer() {
        let start = Instant::now();
        let mut requests = SectionRequests::default();
        requests.offer_answered();
        requests.request(start);
        let later = start + OFFER_INTERVAL;
        assert_eq!(
            requests.take_due(later, Some(sections(0, 0)), false),
            Some(sections(0, 0))
        );
        requests.request(later);
        assert_eq!(
            requests.take_due(later + OFFER_INTERVAL, None, true),
            None,
            "asked already"
        );
        requests.offer_answered();
        requests.request(later);
        let again = later + OFFER_INTERVAL;
        assert_eq!(requests.take_due(again, None, true), Some(sections(0, 0)));
    }
}
