//! `simulate` scenarios: clients test their own reconnection with them.

use std::time::Duration;

use protocol::proto;
use protocol::proto::DisconnectReason;
use protocol::proto::leave_request::Action;
use protocol::proto::simulate_scenario::Scenario;

use super::Room;
use super::ice_preference::IcePreference;
use super::ice_servers::IceServer;
use super::limits::SIMULATED_SPEECH_MAX;
use super::member::DropOnResume;
use crate::participant::MediaInput;

impl Room {
    pub(super) fn simulate(&mut self, number: u16, request: &proto::SimulateScenario) {
        let Some(scenario) = request.scenario else {
            return;
        };
        match scenario {
            Scenario::SpeakerUpdate(seconds) => {
                let seconds = u64::try_from(seconds).unwrap_or(0);
                let speech = Duration::from_secs(seconds).min(SIMULATED_SPEECH_MAX);
                self.simulate_speech(number, speech);
            }
            // A node that dies says nothing; what others hear is 1.13.5's choice of reason.
            Scenario::NodeFailure(_) => {
                self.close_member(number, DisconnectReason::ServerShutdown, None);
            }
            Scenario::Migration(_) => {
                self.close_member(number, DisconnectReason::Migration, None);
            }
            Scenario::ServerLeave(_) => {
                let leave = Some(Action::Disconnect);
                self.close_member(number, DisconnectReason::ServerShutdown, leave);
            }
            Scenario::SwitchCandidateProtocol(wanted) => {
                if let Ok(protocol) = proto::CandidateProtocol::try_from(wanted) {
                    self.switch_protocol(number, protocol);
                }
            }
            Scenario::DisconnectSignalOnResume(_) => {
                self.drop_on_resume(number, DropOnResume::AfterReconnect);
            }
            Scenario::DisconnectSignalOnResumeNoMessages(_) => {
                self.drop_on_resume(number, DropOnResume::BeforeAnything);
            }
            Scenario::SubscriberBandwidth(bps) => {
                let bps = u64::try_from(bps).ok().filter(|bps| *bps > 0);
                self.feed(number, MediaInput::LimitBandwidth(bps));
            }
            // It has no handler in 1.13.5 either.
            Scenario::LeaveRequestFullReconnect(_) => {}
        }
    }

    /// For this connection and, as the client may start over, for the next ones.
    fn switch_protocol(&mut self, number: u16, wanted: proto::CandidateProtocol) {
        let mut servers = self.services.config.ice_servers.iter();
        let preference = match wanted {
            proto::CandidateProtocol::Udp => None,
            proto::CandidateProtocol::Tls if servers.any(IceServer::has_tls) => {
                Some(IcePreference::Tls)
            }
            proto::CandidateProtocol::Tcp | proto::CandidateProtocol::Tls => {
                Some(IcePreference::Tcp)
            }
        };
        self.prefer(number, preference);
    }

    fn drop_on_resume(&mut self, number: u16, how: DropOnResume) {
        if let Some(member) = self.roster.get_mut(number) {
            member.drop_on_resume = Some(how);
        }
    }
}
