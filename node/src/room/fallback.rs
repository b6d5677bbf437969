//! When media dies while signalling lives, the network may let something else through: the next
//! kind of candidate is tried, UDP, then ICE over TCP, then TURN over TLS (LiveKit's
//! `TransportManager.handleConnectionFailed`). Asked when a transport failed; sees no packet.

use std::time::{Duration, Instant};

use media::types::Protocol;
use protocol::proto;
use protocol::proto::client_info::Sdk;

use super::Room;
use super::ice_preference::IcePreference;
use super::ice_servers::IceServer;
use super::limits::{FALLBACK_FAILURES, FALLBACK_FAILURES_WITHIN, FALLBACK_REST, SHORT_CONNECTION};
use crate::participant::MediaInput;

/// Failures of one participant's connections.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Failures {
    /// Of connections that stood too long to blame the network at once.
    count: u32,
    last: Option<Instant>,
    /// What is to be tried once the client shows that the network is there.
    pending: Option<Option<IcePreference>>,
    /// Until then nothing else is tried: its other connection may fail late of the same cause.
    rest_until: Option<Instant>,
}

impl Failures {
    /// Whether something else is to be tried. `lived`: how long media flowed, `None` if never.
    fn add(&mut self, now: Instant, lived: Option<Duration>) -> bool {
        if self.rest_until.is_some_and(|until| now < until) {
            return false;
        }
        if lived.is_some_and(|lived| lived < SHORT_CONNECTION) {
            return true;
        }
        let recent = self
            .last
            .is_none_or(|at| now.saturating_duration_since(at) <= FALLBACK_FAILURES_WITHIN);
        self.count = if recent { self.count + 1 } else { 1 };
        self.last = Some(now);
        self.count >= FALLBACK_FAILURES
    }

    fn try_next(&mut self, now: Instant, wanted: Option<IcePreference>) {
        *self = Self {
            pending: Some(wanted),
            rest_until: Some(now + FALLBACK_REST),
            ..Self::default()
        };
    }
}

/// What comes after `current`; `None` when nothing is left, and everything is offered again.
fn next(current: Option<IcePreference>, tcp: bool, tls: bool) -> Option<IcePreference> {
    match current {
        None if tcp => Some(IcePreference::Tcp),
        None | Some(IcePreference::Tcp) if tls => Some(IcePreference::Tls),
        _ => None,
    }
}

/// pion has no active ICE over TCP, Swift's SDK has it since 1.0.5 (LiveKit's `SupportsICETCP`).
fn speaks_tcp(client: &proto::ClientInfo) -> bool {
    let parts: Vec<u32> = client
        .version
        .split('.')
        .map_while(|part| part.parse().ok())
        .collect();
    match client.sdk() {
        Sdk::Go => false,
        Sdk::Swift => parts >= vec![1, 0, 5],
        _ => true,
    }
}

impl Room {
    /// A transport failed after it carried media for `lived`. Returns what is to be tried next, if
    /// anything is; it counts when the client is back soon. Who stays away has lost the whole
    /// network, which says nothing of UDP.
    pub(super) fn fall_back(
        &mut self,
        number: u16,
        lived: Option<Duration>,
    ) -> Option<Option<IcePreference>> {
        let config = &self.services.config;
        let tls = config.ice_servers.iter().any(IceServer::has_tls);
        let member = self.roster.get_mut(number)?;
        if !config.allow_tcp_fallback || member.one_shot || member.session.is_none() {
            member.failures = Failures::default();
            return None;
        }
        if !member.failures.add(self.now, lived) {
            return member.failures.pending;
        }
        let endpoint = self.services.shards.endpoint(self.span.shard(number));
        let mut candidates = endpoint.candidates.iter();
        let tcp = candidates.any(|one| one.protocol == Protocol::Tcp) && speaks_tcp(&member.client);
        let identity = member.identity();
        let current = self.ice_preferences.peek(self.now, identity);
        let wanted = next(current, tcp, tls);
        if wanted == current {
            return None;
        }
        tracing::info!(
            identity,
            ?current,
            ?wanted,
            "media failed: trying another way"
        );
        member.failures.try_next(self.now, wanted);
        Some(wanted)
    }

    /// The client is back: the network is there, so what was to be tried is remembered. Returns it
    /// for the connections that live on.
    pub(super) fn fallback_wanted(&mut self, number: u16) -> Option<Option<IcePreference>> {
        let member = self.roster.get_mut(number)?;
        let wanted = member.failures.pending.take()?;
        self.ice_preferences
            .set(self.now, member.identity(), wanted);
        Some(wanted)
    }

    /// Limits a participant to one way for media, for this connection and the next ones.
    pub(super) fn prefer(&mut self, number: u16, wanted: Option<IcePreference>) {
        if let Some(member) = self.roster.get(number) {
            self.ice_preferences
                .set(self.now, member.identity(), wanted);
            self.move_media(number, wanted);
        }
    }

    /// Restarts a participant's connections on candidates of what it is limited to.
    pub(super) fn move_media(&mut self, number: u16, wanted: Option<IcePreference>) {
        let protocol = match wanted {
            None => proto::CandidateProtocol::Udp,
            Some(IcePreference::Tcp) => proto::CandidateProtocol::Tcp,
            // Nothing here can move: the client learns of it when it starts over.
            Some(IcePreference::Tls) => return,
        };
        self.feed(number, MediaInput::SwitchCandidateProtocol(protocol));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: Option<IcePreference> = Some(IcePreference::Tcp);
    const TLS: Option<IcePreference> = Some(IcePreference::Tls);

    #[test]
    fn ways_are_tried_in_order_as_far_as_there_are_any() {
        assert_eq!(next(None, true, true), TCP);
        assert_eq!(next(None, false, true), TLS);
        assert_eq!(next(None, false, false), None);
        assert_eq!(next(TCP, true, true), TLS);
        assert_eq!(next(TCP, true, false), None);
        assert_eq!(next(TLS, true, true), None);
    }

    #[test]
    fn a_short_connection_counts_at_once_and_others_when_they_fail_again_soon() {
        let now = Instant::now();
        let mut failures = Failures::default();
        assert!(failures.add(now, Some(Duration::from_secs(20))));
        let long = Some(Duration::from_secs(600));
        assert!(!failures.add(now, long));
        let late = now + FALLBACK_FAILURES_WITHIN + Duration::from_secs(1);
        assert!(!failures.add(late, long), "too long ago");
        assert!(failures.add(late + Duration::from_secs(30), None));
    }

    #[test]
    fn after_a_change_failures_of_the_same_cause_change_nothing() {
        let now = Instant::now();
        let short = Some(Duration::from_secs(20));
        let mut failures = Failures::default();
        assert!(failures.add(now, short));
        failures.try_next(now, TCP);
        assert!(!failures.add(now + Duration::from_secs(5), short));
        assert!(failures.add(now + FALLBACK_REST, short));
    }

    #[test]
    fn clients_without_ice_over_tcp_are_known() {
        let client = |sdk: Sdk, version: &str| proto::ClientInfo {
            sdk: sdk.into(),
            version: version.into(),
            ..Default::default()
        };
        assert!(speaks_tcp(&client(Sdk::Js, "2.1.0")));
        assert!(!speaks_tcp(&client(Sdk::Go, "2.1.0")));
        assert!(!speaks_tcp(&client(Sdk::Swift, "1.0.4")));
        assert!(speaks_tcp(&client(Sdk::Swift, "2.0.0")));
    }
}
