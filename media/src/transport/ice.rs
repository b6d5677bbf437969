//! The ICE agent of one transport (RFC 8445): a full agent with host candidates only. It answers
//! checks at once, learns peer-reflexive candidates, checks back, nominates when it controls and
//! follows the peer's nomination otherwise. Owned by `Transport`; decides paths, never media.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::{DropReason, TransportOptions};
use crate::limits::{
    ICE_CONNECT_TIMEOUT, ICE_DISCONNECTED, ICE_FAILED, ICE_MAX_REMOTE_CANDIDATES,
    ICE_OLD_CREDENTIALS,
};
use crate::transport::stun::{self, Class, Message};
use crate::types::{IceCredentials, Path, Protocol, RemoteCandidate};

mod checks;
mod pair;
mod takeover;

use pair::Pair;

/// How the agent stands as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IceState {
    /// No valid pair yet.
    Checking,
    Connected,
    Disconnected,
    Failed,
}

/// One side's credentials. The key is made when it is needed: it takes a kilobyte, and a check or
/// two a second do not mind.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    pub(super) plain: IceCredentials,
}

impl Credentials {
    fn new(plain: IceCredentials) -> Credentials {
        Credentials { plain }
    }

    pub(super) fn key(&self) -> aws_lc_rs::hmac::Key {
        stun::integrity_key(&self.plain.pwd)
    }
}

/// Credentials from before a restart, answered until the new pair carries.
#[derive(Debug)]
struct OldCredentials {
    local: Credentials,
    remote: Option<Credentials>,
    expires: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Agent {
    local: Credentials,
    remote: Option<Credentials>,
    old: Option<OldCredentials>,
    controlling: bool,
    tie_breaker: u64,
    /// Value of the last NOMINATION we sent.
    nomination: u32,
    /// The pair we nominate while controlling.
    nominee: Option<Path>,
    /// `nominate` chose the nominee: better pairs do not replace it.
    nominee_forced: bool,
    /// Nominating checks still to be sent in quick succession.
    hasty: u8,
    /// We control, and a check of the peer said that it knows.
    controls: bool,
    /// It answered nothing while we took control: it is not asked again.
    keeps_control: bool,
    /// A standby: pairs are kept warm, none is nominated or selected.
    dormant: bool,
    pairs: Vec<Pair>,
    selected: Option<Path>,
    candidates: Vec<RemoteCandidate>,
    options: TransportOptions,
    checks: VecDeque<checks::Check>,
    state: IceState,
    /// When connecting began; `None` until the remote description is known.
    started: Option<Instant>,
    last_seen: Instant,
    rng: ChaCha12Rng,
    out: VecDeque<(Path, Vec<u8>)>,
    selection_changed: bool,
}

impl Agent {
    pub(super) fn new(
        now: Instant,
        local: IceCredentials,
        options: TransportOptions,
        seed: [u8; 32],
    ) -> Agent {
        Agent {
            local: Credentials::new(local),
            remote: None,
            old: None,
            controlling: options.controlling,
            tie_breaker: options.tie_breaker,
            nomination: 0,
            nominee: None,
            nominee_forced: false,
            hasty: 0,
            controls: false,
            keeps_control: false,
            dormant: false,
            pairs: Vec::new(),
            selected: None,
            candidates: Vec::new(),
            options,
            checks: VecDeque::new(),
            state: IceState::Checking,
            started: None,
            last_seen: now,
            rng: ChaCha12Rng::from_seed(seed),
            out: VecDeque::new(),
            selection_changed: false,
        }
    }

    /// Applies the peer's credentials; other ones than before begin its side of a restart.
    pub(super) fn set_remote(&mut self, now: Instant, remote: IceCredentials) {
        if self.remote.as_ref().is_some_and(|r| r.plain == remote) {
            return;
        }
        if self.remote.is_some() {
            self.keep_old_credentials();
            self.candidates.clear();
        }
        self.remote = Some(Credentials::new(remote));
        self.begin(now);
        self.pair_candidates(now);
    }

    /// Our side of a restart.
    pub(super) fn restart(&mut self, now: Instant, local: IceCredentials) {
        if self.local.plain == local {
            return;
        }
        self.keep_old_credentials();
        self.local = Credentials::new(local);
        // A remote that is new already (its offer came first) stays; an old one will be replaced.
        let old_remote = self.old.as_ref().and_then(|o| o.remote.as_ref());
        if self.remote.as_ref().map(|r| &r.plain) == old_remote.map(|r| &r.plain) {
            self.remote = None;
        }
        self.begin(now);
    }

    pub(super) fn add_candidate(&mut self, now: Instant, candidate: RemoteCandidate) {
        if self.candidates.len() >= ICE_MAX_REMOTE_CANDIDATES
            || self.candidates.contains(&candidate)
        {
            return;
        }
        self.candidates.push(candidate);
        self.pair_candidates(now);
    }

    /// Takes control and nominates `path`, checking it first.
    pub(super) fn nominate(&mut self, now: Instant, path: Path) {
        self.controlling = true;
        self.tie_breaker = u64::MAX;
        self.nomination = self.nomination.wrapping_add(1).max(1);
        self.nominee = Some(path);
        self.nominee_forced = true;
        let index = self.learn(now, path, None, false);
        self.pairs[index].check_soon(now);
        self.run_checks(now);
    }

    /// Takes one STUN datagram that came on `path`.
    pub(super) fn handle(
        &mut self,
        now: Instant,
        path: Path,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        let message = Message::parse(datagram).ok_or(DropReason::Malformed)?;
        match message.class() {
            Class::Request => self.handle_request(now, path, &message),
            Class::Success | Class::Error => self.handle_answer(now, path, &message),
            Class::Indication => Ok(()),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some(old) = &self.old
            && old.expires.is_some_and(|at| at <= now)
        {
            self.old = None;
            self.pairs.retain(|pair| !pair.old);
        }
        self.run_checks(now);
        if !self.dormant {
            self.end_consent(now);
            self.update_state(now);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let checks = self.pairs.iter().filter_map(|pair| pair.next_check);
        let expiry = self.old.as_ref().and_then(|old| old.expires);
        let state = self.state_deadline().filter(|_| !self.dormant);
        checks
            .chain(expiry)
            .chain(state)
            .chain(self.selected_pair().map(Pair::consent_ends))
            .min()
    }

    pub(super) fn poll_transmit(&mut self) -> Option<(Path, Vec<u8>)> {
        let next = self.out.pop_front();
        if next.is_none() && self.dormant {
            // Thousands of them do little: what they need now and then is not kept.
            self.out = VecDeque::new();
        }
        next
    }

    /// The new selection, once per change.
    pub(super) fn poll_selection(&mut self) -> Option<Path> {
        if !std::mem::take(&mut self.selection_changed) {
            return None;
        }
        self.selected
    }

    pub(super) fn state(&self) -> IceState {
        self.state
    }

    pub(super) fn selected(&self) -> Option<Path> {
        self.selected
    }

    pub(super) fn knows(&self, path: &Path) -> bool {
        self.selected.as_ref() == Some(path)
            || self
                .pairs
                .iter()
                .any(|pair| pair.path == *path && pair.heard)
    }

    /// A check on `path` was answered: the peer is there, not only its address.
    pub(super) fn proved(&self, path: &Path) -> bool {
        let mut pairs = self.pairs.iter();
        pairs.any(|pair| pair.path == *path && pair.valid)
    }

    /// Whether `datagram` answers a check of ours on `path`.
    pub(super) fn expects(&self, path: &Path, datagram: &[u8]) -> bool {
        Message::parse(datagram).is_some_and(|message| self.awaits(path, message.transaction()))
    }

    /// Whether checks for `ufrag` are answered.
    pub(super) fn answers_to(&self, ufrag: &str) -> bool {
        self.local.plain.ufrag == ufrag
            || self
                .old
                .as_ref()
                .is_some_and(|old| old.local.plain.ufrag == ufrag)
    }

    pub(super) fn local(&self) -> &IceCredentials {
        &self.local.plain
    }

    pub(super) fn remote(&self) -> Option<&IceCredentials> {
        self.remote.as_ref().map(|remote| &remote.plain)
    }

    pub(super) fn nomination(&self) -> u32 {
        self.nomination
    }

    pub(super) fn set_nomination(&mut self, value: u32) {
        self.nomination = value;
    }

    /// Round-trip time of the selected pair's last check.
    pub(super) fn rtt(&self) -> Option<Duration> {
        self.selected_pair()?.rtt
    }

    fn selected_pair(&self) -> Option<&Pair> {
        let selected = self.selected?;
        self.pairs.iter().find(|pair| pair.path == selected)
    }

    /// Leaves a pair whose checks go unanswered, whatever the peer sends from elsewhere: nobody
    /// may get media who does not say that he wants it.
    fn end_consent(&mut self, now: Instant) {
        let over = self
            .selected_pair()
            .is_some_and(|pair| pair.consent_ends() <= now);
        if !over {
            return;
        }
        self.selected = None;
        let controlling = self.controlling;
        let works = |pair: &&Pair| pair.valid && !pair.is_doubtful() && pair.consent_ends() > now;
        let best = self
            .pairs
            .iter()
            .filter(works)
            .max_by_key(|pair| pair.priority(controlling))
            .map(|pair| pair.path);
        if let Some(path) = best {
            self.selected = Some(path);
            self.selection_changed = true;
        }
    }

    /// Answers nothing and checks nothing from now on.
    pub(super) fn stop(&mut self) {
        self.pairs.clear();
        self.checks.clear();
        self.out.clear();
        self.selected = None;
        self.old = None;
        self.started = None;
    }

    fn begin(&mut self, now: Instant) {
        self.started = Some(now);
        if self.state == IceState::Failed {
            self.state = IceState::Checking;
            self.last_seen = now;
        }
        for pair in &mut self.pairs {
            pair.check_soon(now);
        }
    }

    fn keep_old_credentials(&mut self) {
        (self.controls, self.keeps_control) = (false, false);
        if self.old.as_ref().is_none_or(|old| old.expires.is_some()) {
            self.old = Some(OldCredentials {
                local: self.local.clone(),
                remote: self.remote.clone(),
                expires: None,
            });
        }
        // A second restart before the first one carried: the pairs stay on the oldest credentials.
        for pair in &mut self.pairs {
            pair.old = true;
        }
        self.nominee_forced = false;
    }

    fn pair_candidates(&mut self, now: Instant) {
        if self.remote.is_none() {
            return;
        }
        for candidate in self.candidates.clone() {
            for (protocol, local) in self.options.local_addresses.clone() {
                let same_family = local.is_ipv4() == candidate.address.is_ipv4();
                if protocol != candidate.protocol || !same_family {
                    continue;
                }
                let path = Path {
                    protocol,
                    local,
                    remote: candidate.address,
                };
                let index = self.learn(now, path, Some(candidate.priority), false);
                let pair = &mut self.pairs[index];
                if pair.old {
                    pair.renew();
                }
                if !pair.valid {
                    pair.check_soon(now);
                }
            }
        }
        self.run_checks(now);
    }

    /// Makes `path` the selected one; the first selection after a restart ends the restart.
    fn select(&mut self, now: Instant, path: Path) {
        let on_new = self.pairs.iter().any(|pair| pair.path == path && !pair.old);
        if on_new && self.remote.is_some() {
            if let Some(old) = &mut self.old {
                old.expires.get_or_insert(now + ICE_OLD_CREDENTIALS);
            }
            // Old pairs stay until then: packets on them may still be on their way.
            for pair in self.pairs.iter_mut().filter(|pair| pair.old) {
                pair.next_check = None;
            }
        }
        if self.selected != Some(path) {
            self.selected = Some(path);
            self.selection_changed = true;
        }
        self.seen(now);
    }

    /// Something authenticated arrived.
    fn seen(&mut self, now: Instant) {
        self.last_seen = now;
        if self.selected.is_some() && self.state != IceState::Failed {
            self.state = IceState::Connected;
        }
    }

    fn update_state(&mut self, now: Instant) {
        let silent = now.saturating_duration_since(self.last_seen);
        match self.state {
            IceState::Connected if silent >= ICE_DISCONNECTED => {
                self.state = IceState::Disconnected;
            }
            IceState::Disconnected if silent >= ICE_DISCONNECTED + ICE_FAILED => self.fail(),
            IceState::Checking
                if self
                    .started
                    .is_some_and(|at| now >= at + ICE_CONNECT_TIMEOUT) =>
            {
                self.fail();
            }
            _ => {}
        }
    }

    fn state_deadline(&self) -> Option<Instant> {
        match self.state {
            IceState::Checking => self.started.map(|at| at + ICE_CONNECT_TIMEOUT),
            IceState::Connected => Some(self.last_seen + ICE_DISCONNECTED),
            IceState::Disconnected => Some(self.last_seen + ICE_DISCONNECTED + ICE_FAILED),
            IceState::Failed => None,
        }
    }

    fn fail(&mut self) {
        self.state = IceState::Failed;
        self.started = None;
        self.selected = None;
        for pair in &mut self.pairs {
            pair.next_check = None;
        }
    }

    fn transaction_id(&mut self) -> stun::TransactionId {
        let mut id = stun::TransactionId::default();
        self.rng.fill_bytes(&mut id);
        id
    }
}

/// Priority of a candidate of ours on `protocol` (RFC 8445 §5.1.2.1): host, UDP before TCP.
fn local_priority(protocol: Protocol) -> u32 {
    let preference: u32 = match protocol {
        Protocol::Udp => 65_535,
        Protocol::Tcp => (4 << 13) + 8_191,
    };
    (126 << 24) | (preference << 8) | 255
}
