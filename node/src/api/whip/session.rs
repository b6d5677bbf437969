//! One WHIP session: joins, announces what the offer carries, offers, waits for the answer; later
//! takes candidates and restarts ICE. A core: `session_actor` drives it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use media::types::IceCredentials;
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;

use super::fragment::{self, Fragment};
use super::limits::{ANSWER_TIMEOUT, RESTARTS_WAITING_MAX};
use crate::room::contract::SessionMessage;

/// What a POST asks for.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) offer: String,
    /// The client's credentials in that offer.
    pub(super) ice: IceCredentials,
    pub(super) tracks: Vec<proto::AddTrackRequest>,
    /// Names of tracks to be sent back, by identity.
    pub(super) wanted: BTreeMap<String, Vec<String>>,
}

/// What a POST is answered with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Created {
    pub(super) participant: String,
    pub(super) ice_servers: Vec<proto::IceServer>,
    pub(super) ufrag: String,
    pub(super) answer: String,
}

/// What a restart of ICE is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Restarted {
    pub(super) ufrag: String,
    pub(super) fragment: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PatchError {
    #[error("the entity tag names another ICE session")]
    OtherGeneration,
    #[error("the fragment's ICE credentials are not those of the session")]
    OtherCredentials,
    #[error("a restart needs ICE credentials")]
    NoCredentials,
    #[error("the restart was not answered")]
    Refused,
}

/// Names a PATCH until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PatchId(pub(super) u64);

#[derive(Debug)]
pub(super) enum SessionInput {
    Room(SessionMessage),
    /// Candidates for the ICE generation with this ufrag of ours.
    Trickle {
        id: PatchId,
        generation: String,
        fragment: Fragment,
    },
    Restart {
        id: PatchId,
        fragment: Fragment,
    },
    /// Nobody waits for the answer of the POST.
    Abandoned,
    Timeout,
}

#[derive(Debug, PartialEq)]
pub(super) enum SessionOutput {
    Request(Box<Request>),
    Created(Box<Created>),
    /// `None`: candidates were taken.
    Patched(PatchId, Result<Option<Restarted>, PatchError>),
    /// `by_room`: the room knows.
    Ended {
        by_room: bool,
    },
}

#[derive(Debug, PartialEq)]
enum State {
    /// Waits for the JoinResponse.
    Joining,
    /// Waits for the answer to the first offer.
    Answering,
    Live,
    Ended,
}

#[derive(Debug)]
pub(super) struct WhipSession {
    state: State,
    start: Start,
    participant: String,
    ice_servers: Vec<proto::IceServer>,
    /// Our ufrag in the last answer.
    generation: String,
    deadline: Instant,
    /// Id of the last offer sent.
    offers: u32,
    /// Restarts by the id of their offer, and until when they wait for the answer.
    restarts: VecDeque<(u32, PatchId, Instant)>,
    outputs: VecDeque<SessionOutput>,
}

impl WhipSession {
    pub(super) fn new(now: Instant, start: Start) -> Self {
        Self {
            state: State::Joining,
            start,
            participant: String::new(),
            ice_servers: Vec::new(),
            generation: String::new(),
            deadline: now + ANSWER_TIMEOUT,
            offers: 0,
            restarts: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    pub(super) fn handle(&mut self, now: Instant, input: SessionInput) {
        if self.state == State::Ended {
            return;
        }
        match input {
            SessionInput::Room(
                SessionMessage::Close | SessionMessage::Restart | SessionMessage::Elsewhere(_),
            ) => self.end(true),
            // The shell says it again.
            SessionInput::Room(SessionMessage::Unheard(_)) => {}
            SessionInput::Room(SessionMessage::Signal(response)) => match response.message {
                Some(Response::Join(join)) => self.joined(join),
                Some(Response::Answer(answer)) => self.answered(answer),
                // Nothing of what else a room says concerns a client that cannot hear it.
                _ => {}
            },
            SessionInput::Trickle {
                id,
                generation,
                fragment,
            } => {
                let result = self.trickle(&generation, &fragment).map(|()| None);
                self.outputs.push_back(SessionOutput::Patched(id, result));
            }
            SessionInput::Restart { id, fragment } => {
                if let Err(error) = self.restart(now, id, &fragment) {
                    let refused = SessionOutput::Patched(id, Err(error));
                    self.outputs.push_back(refused);
                }
            }
            SessionInput::Abandoned => self.end(false),
            SessionInput::Timeout => {
                if self.state == State::Live {
                    self.expire_restarts(now);
                } else if now >= self.deadline {
                    self.end(false);
                }
            }
        }
    }

    pub(super) fn poll(&mut self) -> Option<SessionOutput> {
        self.outputs.pop_front()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Joining | State::Answering => Some(self.deadline),
            State::Live => self.restarts.front().map(|(_, _, until)| *until),
            State::Ended => None,
        }
    }

    /// Their answers will not come: a room answers no offer it cannot carry out.
    fn expire_restarts(&mut self, now: Instant) {
        while let Some((_, id, until)) = self.restarts.front()
            && *until <= now
        {
            let refused = SessionOutput::Patched(*id, Err(PatchError::Refused));
            self.outputs.push_back(refused);
            self.restarts.pop_front();
        }
    }

    fn end(&mut self, by_room: bool) {
        self.state = State::Ended;
        self.outputs.push_back(SessionOutput::Ended { by_room });
    }

    fn request(&mut self, request: Request) {
        let request = SessionOutput::Request(Box::new(request));
        self.outputs.push_back(request);
    }

    /// Subscriptions first: the offer's sections carry them. Tracks next: the answer is shaped by
    /// what they are.
    fn joined(&mut self, join: proto::JoinResponse) {
        if self.state != State::Joining {
            return;
        }
        self.state = State::Answering;
        self.participant = join.participant.map(|p| p.sid).unwrap_or_default();
        self.ice_servers = join.ice_servers;
        let participant_tracks = wanted_tracks(&self.start.wanted, &join.other_participants);
        if !participant_tracks.is_empty() {
            self.request(Request::Subscription(proto::UpdateSubscription {
                subscribe: true,
                participant_tracks,
                ..Default::default()
            }));
        }
        for track in std::mem::take(&mut self.start.tracks) {
            self.request(Request::AddTrack(track));
        }
        self.offer(self.start.offer.clone());
    }

    fn offer(&mut self, sdp: String) {
        self.offers += 1;
        self.request(Request::Offer(proto::SessionDescription {
            r#type: "offer".to_owned(),
            sdp,
            id: self.offers,
            ..Default::default()
        }));
    }

    fn answered(&mut self, answer: proto::SessionDescription) {
        let ufrag = fragment::ufrag_of(&answer.sdp).unwrap_or("").to_owned();
        self.generation.clone_from(&ufrag);
        match self.state {
            State::Answering => {
                self.state = State::Live;
                let created = Box::new(Created {
                    participant: self.participant.clone(),
                    ice_servers: std::mem::take(&mut self.ice_servers),
                    ufrag,
                    answer: answer.sdp,
                });
                self.outputs.push_back(SessionOutput::Created(created));
            }
            State::Live => {
                while let Some((offer, id, _)) = self.restarts.pop_front() {
                    // An offer without an answer of its own was overtaken by a later one.
                    let result = match offer == answer.id {
                        true => Ok(Some(Restarted {
                            ufrag: ufrag.clone(),
                            fragment: fragment::of_answer(&answer.sdp),
                        })),
                        false => Err(PatchError::Refused),
                    };
                    self.outputs.push_back(SessionOutput::Patched(id, result));
                    if offer >= answer.id {
                        break;
                    }
                }
            }
            State::Joining | State::Ended => {}
        }
    }

    fn trickle(&mut self, generation: &str, fragment: &Fragment) -> Result<(), PatchError> {
        if generation != self.generation {
            return Err(PatchError::OtherGeneration);
        }
        let other = |given: &Option<String>, own: &str| given.as_ref().is_some_and(|g| g != own);
        if other(&fragment.ufrag, &self.start.ice.ufrag)
            || other(&fragment.pwd, &self.start.ice.pwd)
        {
            return Err(PatchError::OtherCredentials);
        }
        let target = proto::SignalTarget::Publisher.into();
        for candidate_init in fragment.candidate_inits() {
            self.request(Request::Trickle(proto::TrickleRequest {
                candidate_init,
                target,
                r#final: false,
            }));
        }
        Ok(())
    }

    fn restart(
        &mut self,
        now: Instant,
        id: PatchId,
        fragment: &Fragment,
    ) -> Result<(), PatchError> {
        let (Some(ufrag), Some(pwd)) = (&fragment.ufrag, &fragment.pwd) else {
            return Err(PatchError::NoCredentials);
        };
        if self.state != State::Live || self.restarts.len() == RESTARTS_WAITING_MAX {
            return Err(PatchError::Refused);
        }
        let offer = fragment::restarted_offer(&self.start.offer, ufrag, pwd, fragment);
        // The room answers no offer it cannot read.
        let summary = media::negotiate::read_offer(&offer);
        self.start.ice = summary.map_err(|_| PatchError::NoCredentials)?.ice;
        self.start.offer.clone_from(&offer);
        self.offer(offer);
        self.restarts
            .push_back((self.offers, id, now + ANSWER_TIMEOUT));
        Ok(())
    }
}

/// The tracks with wanted names among those present.
fn wanted_tracks(
    wanted: &BTreeMap<String, Vec<String>>,
    others: &[proto::ParticipantInfo],
) -> Vec<proto::ParticipantTracks> {
    let of = |other: &proto::ParticipantInfo| {
        let names = wanted.get(&other.identity)?;
        let tracks = other.tracks.iter().filter(|t| names.contains(&t.name));
        Some(proto::ParticipantTracks {
            participant_sid: other.sid.clone(),
            track_sids: tracks.map(|track| track.sid.clone()).collect(),
        })
    };
    let all = others.iter().filter_map(of);
    all.filter(|tracks| !tracks.track_sids.is_empty()).collect()
}
