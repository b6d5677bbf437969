//! Connectivity checks of the agent: answering the peer's, sending ours, nomination and roles
//! (RFC 8445 §7).

use std::time::{Duration, Instant};

use super::{Agent, Credentials, Pair};
use crate::limits::{ICE_MAX_TRANSACTIONS, TAKEOVER_CHECK_PAUSE};
use crate::transport::DropReason;
use crate::transport::stun::{self, Builder, Class, Message, TransactionId};
use crate::types::Path;

/// PRIORITY of our checks: what a candidate learnt from them would have (type preference 110).
pub(super) const PEER_REFLEXIVE_PRIORITY: u32 = (110 << 24) | (65_535 << 8) | 255;
/// A controlling client that left its pair this long ago may move to one of lower priority.
const NOMINATION_STALE: Duration = Duration::from_secs(3);

/// One check in flight.
#[derive(Debug)]
pub(super) struct Check {
    id: TransactionId,
    path: Path,
    sent: Instant,
    nominating: bool,
    as_controlling: bool,
    old: bool,
}

impl Agent {
    pub(super) fn handle_request(
        &mut self,
        now: Instant,
        path: Path,
        message: &Message<'_>,
    ) -> Result<(), DropReason> {
        let username = message.username().ok_or(DropReason::Unauthenticated)?;
        let ufrag = username.split(':').next().unwrap_or(username);
        let (credentials, old) = self
            .local_credentials(ufrag)
            .ok_or(DropReason::Unauthenticated)?;
        let key = credentials.key();
        if !message.verify(&key) {
            return Err(DropReason::Unauthenticated);
        }
        if !self.settle_roles(message, old) {
            let conflict = Builder::new(Class::Error, message.transaction())
                .error(stun::ROLE_CONFLICT, "Role Conflict")
                .finish(&key);
            self.out.push_back((path, conflict));
            return Ok(());
        }
        let answer = Builder::new(Class::Success, message.transaction())
            .xor_mapped_address(path.remote)
            .finish(&key);
        self.out.push_back((path, answer));
        self.learn_from_request(now, path, message, old);
        self.seen(now);
        self.run_checks(now);
        Ok(())
    }

    pub(super) fn handle_answer(
        &mut self,
        now: Instant,
        path: Path,
        message: &Message<'_>,
    ) -> Result<(), DropReason> {
        let id = message.transaction();
        let at = self
            .checks
            .iter()
            .position(|check| check.id == id && check.path == path)
            .ok_or(DropReason::Unauthenticated)?;
        let old = self.checks[at].old;
        let verified = self
            .check_credentials(old)
            .is_some_and(|(_, remote)| message.verify(&remote.key()));
        if !verified {
            return Err(DropReason::Unauthenticated);
        }
        let Some(check) = self.checks.remove(at) else {
            return Ok(());
        };
        if self.dormant {
            self.checks.shrink_to_fit();
        }
        if message.class() == Class::Error {
            self.handle_error(now, &check, message.error_code());
            return Ok(());
        }
        let pause = self.keepalive(path);
        let Some(pair) = self.pairs.iter_mut().find(|pair| pair.path == path) else {
            return Ok(());
        };
        if pair.old != check.old {
            return Ok(()); // An answer for the credentials before the restart proves nothing now.
        }
        if check.nominating {
            self.hasty = 0;
        }
        pair.answered(now, now.saturating_duration_since(check.sent), pause);
        self.pair_is_valid(now, path, check.nominating && check.as_controlling);
        Ok(())
    }

    pub(super) fn awaits(&self, path: &Path, id: TransactionId) -> bool {
        let mut checks = self.checks.iter();
        checks.any(|check| check.id == id && check.path == *path)
    }

    /// Sends the checks that are due.
    pub(super) fn run_checks(&mut self, now: Instant) {
        for index in 0..self.pairs.len() {
            if self.pairs[index].next_check.is_some_and(|at| at <= now) {
                self.send_check(now, index);
            }
        }
    }

    /// Index of the pair on `path`, learnt now if it is new.
    pub(super) fn learn(
        &mut self,
        now: Instant,
        path: Path,
        remote_priority: Option<u32>,
        old: bool,
    ) -> usize {
        if let Some(index) = self.pairs.iter().position(|pair| pair.path == path) {
            return index;
        }
        if self.pairs.len() >= self.most_pairs() {
            self.forget_a_pair();
        }
        let known = self
            .candidates
            .iter()
            .find(|c| c.address == path.remote && c.protocol == path.protocol)
            .map(|candidate| candidate.priority);
        let priority = known.or(remote_priority).unwrap_or(PEER_REFLEXIVE_PRIORITY);
        if self.dormant {
            self.pairs.reserve_exact(1);
        }
        self.pairs.push(Pair::new(now, path, priority, old));
        self.pairs.len() - 1
    }

    fn learn_from_request(&mut self, now: Instant, path: Path, message: &Message<'_>, old: bool) {
        let index = self.learn(now, path, message.priority(), old);
        let pair = &mut self.pairs[index];
        pair.heard = true;
        pair.last_heard = now;
        pair.last_request = Some(now);
        if pair.old && !old {
            pair.renew();
        }
        pair.triggered(now);
        if message.use_candidate() || message.nomination().is_some() {
            pair.nominated_by_peer = Some(message.nomination().unwrap_or(0));
            if pair.valid && !self.controlling {
                self.follow_nomination(now, path);
            }
        }
    }

    /// A check on `path` was answered.
    fn pair_is_valid(&mut self, now: Instant, path: Path, nominated: bool) {
        self.seen(now);
        if self.dormant {
            return;
        }
        if self.controlling {
            if nominated && self.nominee == Some(path) {
                self.select(now, path);
            } else {
                self.consider_nominee(now, path);
            }
        } else {
            self.follow_nomination(now, path);
        }
        if self.selected.is_none() {
            // Any valid pair may carry data before nomination (RFC 8445 §12.1).
            self.select(now, path);
        }
    }

    /// While controlling: nominates `path` if it is better than what is nominated now.
    fn consider_nominee(&mut self, now: Instant, path: Path) {
        let better = |agent: &Agent, current: Path| {
            let find = |path| agent.pairs.iter().find(|pair| pair.path == path);
            match (find(path), find(current)) {
                (Some(new), Some(old)) => {
                    old.old
                        || !old.valid
                        || old.is_doubtful()
                        || new.priority(true) > old.priority(true)
                }
                (found, _) => found.is_some(),
            }
        };
        match self.nominee {
            Some(current) if current == path => {}
            Some(current) if self.nominee_forced && !self.is_lost(current) => return,
            Some(current) if !better(self, current) => return,
            _ => {
                self.nomination = self.nomination.wrapping_add(1).max(1);
                self.nominee = Some(path);
            }
        }
        if let Some(index) = self.pairs.iter().position(|pair| pair.path == path) {
            self.send_check(now, index);
        }
    }

    /// While controlled: moves to the pair the peer nominated, once it is valid.
    fn follow_nomination(&mut self, now: Instant, path: Path) {
        let Some(pair) = self.pairs.iter().find(|pair| pair.path == path) else {
            return;
        };
        let Some(nomination) = pair.nominated_by_peer else {
            return;
        };
        let Some(current) = self
            .selected
            .and_then(|selected| self.pairs.iter().find(|pair| pair.path == selected))
        else {
            return self.select(now, path);
        };
        // Aggressive nomination marks several pairs: the best one counts (RFC 5245 §8.1.1.1),
        // unless the peer renominates or has left the current pair.
        let left = current
            .last_request
            .is_none_or(|at| now.saturating_duration_since(at) > NOMINATION_STALE);
        let current_nomination = current.nominated_by_peer.unwrap_or(0);
        let follow = current.path == path
            || current.old && !pair.old
            || current.nominated_by_peer.is_none()
            || nomination > current_nomination
            || nomination == current_nomination
                && (pair.priority(false) >= current.priority(false)
                    || left
                    || current.is_doubtful());
        if follow {
            // What the peer wished before is void, or its old pair would win on the next check.
            for other in self.pairs.iter_mut().filter(|pair| pair.path != path) {
                other.nominated_by_peer = None;
            }
            self.select(now, path);
        }
    }

    /// RFC 8445 §7.3.1.1; `false` = the peer has to change its role.
    fn settle_roles(&mut self, message: &Message<'_>, old: bool) -> bool {
        match (message.controlling(), message.controlled()) {
            // It will hear of it from our check. libwebrtc changes its role a moment after each
            // sign of a conflict: told a second time by an error it would change it back.
            (Some(_), _) if self.dormant || self.takes_control() => {}
            (Some(theirs), _) if self.controlling => {
                if self.tie_breaker >= theirs {
                    self.controls = false;
                    return false;
                }
                self.switch_role(false);
            }
            (None, Some(theirs)) if !self.controlling => {
                if self.tie_breaker < theirs {
                    return false;
                }
                self.switch_role(true);
            }
            // Before a restart it may have had another role.
            (None, Some(_)) => self.controls |= !old,
            _ => {}
        }
        true
    }

    pub(super) fn switch_role(&mut self, controlling: bool) {
        self.controlling = controlling;
        self.controls = false;
        self.nominee = None;
        self.nominee_forced = false;
        if controlling && let Some(selected) = self.selected {
            self.nominee = Some(selected);
        }
    }

    fn handle_error(&mut self, now: Instant, check: &Check, code: Option<u16>) {
        if code != Some(stun::ROLE_CONFLICT) {
            return;
        }
        if check.as_controlling == self.controlling {
            self.switch_role(!self.controlling);
        }
        if let Some(pair) = self.pairs.iter_mut().find(|p| p.path == check.path) {
            pair.check_soon(now);
        }
        self.run_checks(now);
    }

    fn send_check(&mut self, now: Instant, index: usize) {
        let (path, old) = (self.pairs[index].path, self.pairs[index].old);
        let id = self.transaction_id();
        let nominating = self.controlling && self.nominee == Some(path);
        let Some((local, remote)) = self.check_credentials(old) else {
            // Without the peer's password there is nothing to check with; `begin` asks again.
            self.pairs[index].next_check = None;
            return;
        };
        let username = format!("{}:{}", remote.plain.ufrag, local.plain.ufrag);
        let mut request = Builder::new(Class::Request, id)
            .username(&username)
            .priority(self.check_priority())
            .role(self.controlling, self.tie_breaker);
        if nominating {
            request = request.use_candidate().nomination(self.nomination);
        }
        let request = request.finish(&remote.key());
        if self.checks.len() >= ICE_MAX_TRANSACTIONS {
            self.checks.pop_front();
        }
        self.checks.push_back(Check {
            id,
            path,
            sent: now,
            nominating,
            as_controlling: self.controlling,
            old,
        });
        let selected = self.selected == Some(path);
        let was_doubtful = self.pairs[index].is_doubtful();
        let pause = self.keepalive(path);
        self.pairs[index].check_sent(now, selected, pause);
        if nominating && self.hasty > 0 {
            self.hasty -= 1;
            self.pairs[index].hasten(now + TAKEOVER_CHECK_PAUSE);
        }
        self.out.push_back((path, request));
        if selected && !was_doubtful && self.pairs[index].is_doubtful() {
            if self.takes_control() {
                self.give_control_back(now);
            }
            // The selected pair may be gone: see at once which other one still works.
            for pair in self.pairs.iter_mut().filter(|pair| pair.path != path) {
                pair.check_soon(now);
            }
        }
    }

    /// A pair that worked has stopped to.
    fn is_lost(&self, path: Path) -> bool {
        self.pairs
            .iter()
            .any(|pair| pair.path == path && pair.valid && pair.is_doubtful())
    }

    fn local_credentials(&self, ufrag: &str) -> Option<(&Credentials, bool)> {
        if self.local.plain.ufrag == ufrag {
            return Some((&self.local, false));
        }
        let old = self.old.as_ref()?;
        (old.local.plain.ufrag == ufrag).then_some((&old.local, true))
    }

    /// Credentials of both sides for checks on an old or a current pair.
    fn check_credentials(&self, old: bool) -> Option<(&Credentials, &Credentials)> {
        if old {
            let old = self.old.as_ref()?;
            return Some((&old.local, old.remote.as_ref()?));
        }
        Some((&self.local, self.remote.as_ref()?))
    }

    /// Makes room: the pair that has been silent longest, never the selected one.
    fn forget_a_pair(&mut self) {
        let index = (0..self.pairs.len())
            .filter(|&i| Some(self.pairs[i].path) != self.selected)
            .min_by_key(|&i| (self.pairs[i].valid, self.pairs[i].last_heard));
        if let Some(index) = index {
            self.pairs.remove(index);
        }
    }
}
