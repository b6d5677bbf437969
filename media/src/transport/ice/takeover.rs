//! The agent's part in takeovers: control at the primary, dormancy at the standby, and the step
//! from there to a live transport.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::checks::PEER_REFLEXIVE_PRIORITY;
use super::{Agent, Pair, local_priority};
use crate::limits::{
    ICE_KEEPALIVE, ICE_KEEPALIVE_DORMANT, ICE_KEEPALIVE_SPARE, ICE_MAX_PAIRS,
    ICE_MAX_PAIRS_DORMANT, NOMINATION_TAKEOVER_STEP, TAKEOVER_CHECKS,
};
use crate::types::{Path, Protocol, RemoteCandidate, standby_priority};

impl Agent {
    /// Controls from now on and stays with the path in use: only who controls can hand the peer
    /// over to a standby.
    pub(in crate::transport) fn take_control(&mut self, now: Instant) {
        if self.controlling || self.keeps_control {
            return;
        }
        self.tie_breaker = u64::MAX;
        self.nomination = self.nomination.wrapping_add(1).max(1);
        self.switch_role(true);
        let selected = self.selected;
        if let Some(pair) = self.pairs.iter_mut().find(|p| Some(p.path) == selected) {
            pair.check_soon(now);
        }
        self.run_checks(now);
    }

    /// Some clients drop checks of who controls while they do (pion): with no check answered they
    /// would be sent nothing any more, so they choose the pair as before.
    pub(super) fn give_control_back(&mut self, now: Instant) {
        self.keeps_control = true;
        self.switch_role(false);
        let selected = self.selected;
        if let Some(pair) = self.pairs.iter_mut().find(|p| Some(p.path) == selected) {
            pair.check_soon(now);
        }
    }

    /// The peer lets us choose the pair. One that still chooses for itself would take a standby's
    /// as soon as it hears of it, for its higher priority, and send to who does not listen.
    pub(in crate::transport) fn controls(&self) -> bool {
        self.controls
    }

    /// We control for good, as a server does, and no check of the peer said yet that it knows.
    pub(super) fn takes_control(&self) -> bool {
        self.controlling && self.tie_breaker == u64::MAX && !self.controls
    }

    pub(in crate::transport) fn is_on_udp(&self) -> bool {
        self.selected
            .is_some_and(|path| path.protocol == Protocol::Udp)
    }

    pub(in crate::transport) fn takeovers(&self) -> u32 {
        self.nomination / NOMINATION_TAKEOVER_STEP
    }

    /// Checks the client where it is, from all addresses of this node, as one with a better
    /// candidate than whoever it knows: Firefox takes no candidate any more once it is connected,
    /// but learns from a check that there is one.
    /// Called again it tries again, only where the client is now.
    pub(in crate::transport) fn seek(&mut self, now: Instant, client: SocketAddr) {
        self.candidates.clear();
        self.add_candidate(
            now,
            RemoteCandidate {
                protocol: Protocol::Udp,
                address: client,
                priority: local_priority(Protocol::Udp),
            },
        );
    }

    /// PRIORITY of our checks: what a candidate learnt from them would have.
    pub(super) fn check_priority(&self) -> u32 {
        match self.dormant {
            true => standby_priority(local_priority(Protocol::Udp), self.takeovers()),
            false => PEER_REFLEXIVE_PRIORITY,
        }
    }

    /// Becomes a standby's: answers, keeps pairs warm, nominates nothing.
    pub(in crate::transport) fn become_dormant(&mut self) {
        self.dormant = true;
        self.controlling = true;
        self.tie_breaker = u64::MAX;
        self.started = None;
    }

    /// The pair a takeover would use: one that answers, the one the client had used at the primary
    /// (`client`) before others.
    pub(in crate::transport) fn warm_path(
        &self,
        now: Instant,
        client: Option<SocketAddr>,
    ) -> Option<Path> {
        let warm = |pair: &&Pair| {
            let udp = pair.path.protocol == Protocol::Udp;
            udp && pair.valid && !pair.is_doubtful() && pair.consent_ends() > now
        };
        let rank = |pair: &&Pair| {
            let same = client.is_some_and(|client| client.ip() == pair.path.remote.ip());
            (same, pair.priority(true), pair.consent)
        };
        let pairs = self.pairs.iter().filter(warm);
        pairs.max_by_key(rank).map(|pair| pair.path)
    }

    /// The primary is gone: nominates `path` above whatever it nominated, and uses it at once.
    pub(in crate::transport) fn take_over(&mut self, now: Instant, path: Option<Path>) {
        self.dormant = false;
        // As any other from now on: it checks back only.
        self.options.local_addresses.clear();
        self.candidates.clear();
        self.nomination = self.nomination.wrapping_add(NOMINATION_TAKEOVER_STEP);
        self.begin(now);
        if let Some(path) = path {
            self.hasty = TAKEOVER_CHECKS;
            self.nominate(now, path);
            self.select(now, path);
        }
    }

    /// Whether a check on the selected pair was answered since `at`.
    pub(in crate::transport) fn answered_after(&self, at: Instant) -> bool {
        let pair = self.selected_pair();
        pair.is_some_and(|pair| pair.valid && pair.consent > at)
    }

    /// Pause between checks of a pair that answers.
    pub(super) fn keepalive(&self, path: Path) -> Duration {
        match self.selected == Some(path) {
            true => ICE_KEEPALIVE,
            false if self.dormant => ICE_KEEPALIVE_DORMANT,
            false => ICE_KEEPALIVE_SPARE,
        }
    }

    pub(super) fn most_pairs(&self) -> usize {
        match self.dormant {
            true => ICE_MAX_PAIRS_DORMANT,
            false => ICE_MAX_PAIRS,
        }
    }
}
