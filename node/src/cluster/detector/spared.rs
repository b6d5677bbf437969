//! Which silent nodes are not given up yet: where this one may be cut off itself, or so many fell
//! silent that a path is more likely broken than they are. Asked by the verdict of `detector`.

use std::time::Duration;

use consensus::ids::NodeId;

use super::limits::{FALLEN_LATELY, MANY_HELD, SETTLED};
use super::peer::Peer;
use super::{Cause, Detector, Suspicion};

impl Detector {
    /// Whether the cluster gains by giving this silent node up. Who hears nobody is cut off itself;
    /// and when most media nodes fall silent at once it is more likely the path to them that
    /// broke, and their rooms are better off where they are, for a while.
    pub(super) fn may_be_given_up(&self, now: Duration, node: NodeId, interval: Duration) -> bool {
        let settled = |since: Option<Duration>| {
            since.is_none_or(|since| now.saturating_sub(since) >= SETTLED)
        };
        if !self.roster.get(&node).is_some_and(|life| life.media) {
            return self.roster.len() <= 2 || !self.alone && settled(self.company_since);
        }
        let (left, all) = self.media_left(now, interval);
        let held = self
            .many_since
            .is_some_and(|since| now.saturating_sub(since) >= MANY_HELD);
        left > 0 && (left * 2 >= all && settled(self.well_since) || held)
    }

    /// How many media nodes this one hears, itself among them, and how many it heard lately.
    fn media_left(&self, now: Duration, interval: Duration) -> (usize, usize) {
        let heard = |node: &NodeId| {
            let peer = self.peers.get(node);
            *node == self.me || peer.is_some_and(|peer| !peer.is_doubted(now, interval))
        };
        let lately = |(node, at): &(&NodeId, &Duration)| {
            now.saturating_sub(**at) < FALLEN_LATELY && !self.roster.contains_key(node)
        };
        let media = self.roster.iter().filter(|(_, life)| life.media);
        let left = media.clone().filter(|(node, _)| heard(node)).count();
        let fallen = self.fallen.iter().filter(lately).count();
        (left, media.count() + fallen)
    }

    /// Since when this node hears some media nodes, but only few; and since when enough again, or
    /// anybody at all, as the others may only not have been asked yet when a path is mended.
    pub(super) fn weigh(&mut self, now: Duration, interval: Duration) {
        let somebody = |peer: &Peer| peer.was_heard() && !peer.is_doubted(now, interval);
        if !self.peers.values().any(somebody) {
            self.alone = true;
        } else if std::mem::take(&mut self.alone) {
            self.company_since = Some(now);
        }
        let (left, all) = self.media_left(now, interval);
        let well = left > 0 && left * 2 >= all;
        if well || left == 0 {
            self.many_since = None;
        } else {
            self.many_since.get_or_insert(now);
        }
        if !well {
            self.few_since.get_or_insert(now);
        } else if let Some(since) = self.few_since.take()
            && now.saturating_sub(since) >= SETTLED
        {
            self.well_since = Some(now);
        }
    }

    pub(super) fn note_fallen(&mut self, now: Duration, suspicion: Suspicion) {
        let life = self.roster.get(&suspicion.node);
        if suspicion.cause == Cause::Silence && life.is_some_and(|life| life.media) {
            self.fallen
                .retain(|_, at| now.saturating_sub(*at) < FALLEN_LATELY);
            self.fallen.insert(suspicion.node, now);
        }
    }
}
