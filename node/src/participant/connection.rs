//! One peer connection as the control plane sees it: its descriptions, its trickled candidates, the
//! state of its transport. `publisher_connection` and `subscriber_connection` drive it; it knows
//! neither publications nor subscriptions.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use media::event::TransportState;
use media::negotiate::{
    Negotiator, NegotiatorConfig, ThawKind, candidates_after, format_candidate, standby_candidates,
};
use media::types::{
    IceCredentials, LocalCandidate, Protocol, ReceiveSection, RemoteCandidate, RemoteTransport,
};
use media::{Command, RoomKey, TransportKey};
use protocol::proto;
use protocol::proto::signal_response::Message;

use super::candidates;
use super::contract::{Environment, StandbyPlace, WallClock};
use super::image::records::ConnectionRecord;
use super::limits::EARLY_CANDIDATES_MAX;
use super::outputs::Outputs;

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) key: TransportKey,
    pub(crate) target: proto::SignalTarget,
    pub(crate) negotiator: Negotiator,
    state: Option<TransportState>,
    /// ICE and DTLS were done at least once.
    was_connected: bool,
    /// When it last came up from nothing.
    connected_at: Option<Instant>,
    /// Credentials the client has been told candidates of.
    trickled: Option<IceCredentials>,
    /// What the shard was told last.
    remote: Option<RemoteTransport>,
    receive: Vec<ReceiveSection>,
    /// Candidates that came before the description they belong to, with their ufrag.
    early: Vec<(RemoteCandidate, Option<String>)>,
    /// The next offer of ours restarts ICE.
    restart_wanted: bool,
    /// How many nodes went on with the transport so far.
    takeovers: u32,
}

impl Connection {
    /// Makes the connection and its transport.
    pub(crate) fn open(
        target: proto::SignalTarget,
        config: NegotiatorConfig,
        environment: &Environment,
        out: &mut Outputs,
    ) -> Self {
        let negotiator = Negotiator::new(config);
        let key = environment.keys.transport();
        out.command(Command::AddTransport {
            transport: key,
            room: environment.room,
            local: negotiator.local_ice().clone(),
            spare: false,
        });
        Self {
            key,
            target,
            negotiator,
            state: None,
            was_connected: false,
            connected_at: None,
            trickled: None,
            remote: None,
            receive: Vec::new(),
            early: Vec::new(),
            restart_wanted: false,
            takeovers: 0,
        }
    }

    /// What its record has beside the descriptions.
    pub(crate) fn record(&self, clock: &WallClock) -> ConnectionRecord {
        ConnectionRecord {
            state: self.state.map_or(0, state_number),
            was_connected: self.was_connected,
            connected_at: self.connected_at.map(|at| clock.unix_micros_of(at)),
            trickled: self.trickled.as_ref() == Some(self.negotiator.local_ice()),
            takeovers: self.takeovers,
            ..Default::default()
        }
    }

    /// Goes on from a record, on a transport that goes on as well, or on a new one.
    pub(crate) fn thaw(
        key: TransportKey,
        target: proto::SignalTarget,
        negotiator: Negotiator,
        (record, clock): (&ConnectionRecord, &WallClock),
        (kind, spare): (ThawKind, bool),
        room: RoomKey,
        out: &mut Outputs,
    ) -> Self {
        let warm = kind == ThawKind::Warm;
        out.command(match warm {
            true => Command::TakeOver { transport: key },
            false => Command::AddTransport {
                transport: key,
                room,
                local: negotiator.local_ice().clone(),
                spare,
            },
        });
        let connected_at = record.connected_at.filter(|_| warm);
        Self {
            key,
            target,
            state: state_of(record.state).filter(|_| warm),
            was_connected: record.was_connected,
            connected_at: connected_at.map(|at| clock.instant_of(at)),
            trickled: (warm && record.trickled).then(|| negotiator.local_ice().clone()),
            remote: negotiator.remote().cloned(),
            receive: Vec::new(),
            early: Vec::new(),
            restart_wanted: false,
            takeovers: record.takeovers_after(kind),
            negotiator,
        }
    }

    pub(crate) fn close(&self, out: &mut Outputs) {
        out.command(Command::CloseTransport {
            transport: self.key,
        });
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.state == Some(TransportState::Connected)
    }

    /// How long it has stood, or had when it failed just now; `None` = it never did.
    pub(crate) fn lived(&self, now: Instant) -> Option<Duration> {
        Some(now.saturating_duration_since(self.connected_at?))
    }

    /// Media has flowed or could have: what is negotiated now is real.
    pub(crate) fn was_connected(&self) -> bool {
        self.was_connected
    }

    pub(crate) fn set_state(&mut self, now: Instant, state: TransportState) {
        let alive = |state| {
            matches!(
                state,
                TransportState::Connected | TransportState::Disconnected
            )
        };
        if state == TransportState::Connected && !self.state.is_some_and(alive) {
            self.connected_at = Some(now);
        }
        self.state = Some(state);
        self.was_connected |= state == TransportState::Connected;
    }

    /// The client was told a description: our candidates follow, once for each ICE generation.
    pub(crate) fn trickle_out(&mut self, out: &mut Outputs) {
        let local = self.negotiator.local_ice();
        if self.trickled.as_ref() == Some(local) {
            return;
        }
        self.trickled = Some(local.clone());
        let lines = self.negotiator.trickle_candidates();
        for trickle in candidates::trickles(&lines, self.negotiator.first_mid(), self.target) {
            out.signal(Message::Trickle(trickle));
        }
    }

    /// The client learns where a standby is: above all candidates of the `primary`. Told again it
    /// is another candidate: libwebrtc drops one it was told before, even if it could not use it.
    pub(crate) fn trickle_standby(
        &self,
        primary: &[LocalCandidate],
        standby: &StandbyPlace,
        out: &mut Outputs,
    ) {
        let (takeovers, telling) = (standby.takeovers, standby.telling);
        let candidate = |(index, address): (usize, &SocketAddr)| LocalCandidate {
            protocol: Protocol::Udp,
            address: *address,
            priority: 0,
            foundation: format!("{takeovers}x{telling}x{index}"),
        };
        let addresses = standby.addresses.iter().enumerate();
        let standby: Vec<_> = addresses.map(candidate).collect();
        let ufrag = &self.negotiator.local_ice().ufrag;
        let lines: Vec<_> = standby_candidates(primary, &standby, takeovers)
            .iter()
            .map(|candidate| format_candidate(candidate, ufrag))
            .collect();
        for trickle in candidates::trickles(&lines, self.negotiator.first_mid(), self.target) {
            out.signal(Message::Trickle(trickle));
        }
    }

    /// A candidate of the client. It waits while the description of its generation is unknown.
    pub(crate) fn trickle_in(
        &mut self,
        candidate: RemoteCandidate,
        ufrag: Option<String>,
        out: &mut Outputs,
    ) {
        let current = self.remote.as_ref().map(|remote| remote.ice.ufrag.as_str());
        let known = current.is_some_and(|current| ufrag.as_deref().is_none_or(|u| u == current));
        if known {
            out.command(Command::AddRemoteCandidate {
                transport: self.key,
                candidate,
            });
        } else if self.early.len() < EARLY_CANDIDATES_MAX {
            self.early.push((candidate, ufrag));
        }
    }

    /// The client may have lost what it was told: offer anew, with new credentials if it knew any.
    pub(crate) fn want_restart(&mut self) {
        self.restart_wanted = self.remote.is_some();
        self.trickled = None;
    }

    pub(crate) fn take_restart(&mut self) -> bool {
        std::mem::take(&mut self.restart_wanted)
    }

    /// Our credentials changed: answer for the new ones too.
    pub(crate) fn restart_ice(&self, out: &mut Outputs) {
        out.command(Command::RestartIce {
            transport: self.key,
            local: self.negotiator.local_ice().clone(),
        });
    }

    /// A description of the client was accepted.
    pub(crate) fn apply_remote(&mut self, remote: RemoteTransport, out: &mut Outputs) {
        if self.remote.as_ref() != Some(&remote) {
            out.command(Command::SetRemote {
                transport: self.key,
                remote: remote.clone(),
            });
        }
        for (candidate, ufrag) in std::mem::take(&mut self.early) {
            if ufrag.is_none_or(|ufrag| ufrag == remote.ice.ufrag) {
                out.command(Command::AddRemoteCandidate {
                    transport: self.key,
                    candidate,
                });
            }
        }
        self.remote = Some(remote);
    }

    /// Tells the shard the receiving sections when they changed.
    pub(crate) fn apply_receive(&mut self, out: &mut Outputs) {
        let sections = self.negotiator.receive_sections();
        if sections != self.receive {
            self.receive.clone_from(&sections);
            out.command(Command::SetReceive {
                transport: self.key,
                sections,
            });
        }
    }

    /// The same for a new transport, which `explain` helps to know the client's packets.
    pub(crate) fn tell_receive_again(
        &mut self,
        explain: impl FnOnce(&mut [ReceiveSection]),
        out: &mut Outputs,
    ) {
        let mut sections = self.negotiator.receive_sections();
        self.receive.clone_from(&sections);
        if sections.is_empty() {
            return;
        }
        explain(&mut sections);
        out.command(Command::SetReceive {
            transport: self.key,
            sections,
        });
    }

    /// Only candidates of this protocol from now on; the client learns them with the next
    /// generation.
    pub(crate) fn restrict_candidates(&mut self, protocol: Protocol, environment: &Environment) {
        let all = environment.candidates.iter();
        let left = all.filter(|candidate| candidate.protocol == protocol);
        let left: Vec<_> = left.cloned().collect();
        let left = candidates_after(self.takeovers, &left);
        self.negotiator.set_candidates(left);
    }
}

/// In records; 0 is none.
fn state_number(state: TransportState) -> u32 {
    match state {
        TransportState::Connecting => 1,
        TransportState::Connected => 2,
        TransportState::Disconnected => 3,
        TransportState::Failed => 4,
        TransportState::Closed => 5,
    }
}

fn state_of(number: u32) -> Option<TransportState> {
    Some(match number {
        1 => TransportState::Connecting,
        2 => TransportState::Connected,
        3 => TransportState::Disconnected,
        4 => TransportState::Failed,
        5 => TransportState::Closed,
        _ => return None,
    })
}
