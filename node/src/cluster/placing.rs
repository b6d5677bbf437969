//! The leader's side of placement: chooses a home and a standby by the figures nodes sent, has the
//! log agree, and keeps the reasons. Whoever does not lead says so. The rules are
//! `consensus::placement`'s.

pub(crate) mod upkeep;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use consensus::cluster::{Cluster, ProposeError, Role};
use consensus::command::{Action, Outcome, Refusal, Room};
use consensus::ids::{NodeId, RoomName, RoomSid};
use consensus::placement::{self, Candidate, Load, Placement, Selector};
use consensus::state::State;
use futures_util::future::BoxFuture;
use prost::Message;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use tokio::time::{Duration, Instant};

use super::directory::{Found, found};
use super::heartbeat::Heartbeats;
use super::limits::{
    EXPLANATIONS_MAX, PENDING_ROOM_CPU, PENDING_ROOM_LASTS, PENDING_ROOMS_MAX, PLACE_CALL_TIMEOUT,
};
use super::links::{Duplex, Links, Serve, Service};
use super::wire::place_reply::Answer;
use super::wire::{PlaceReply, PlaceRequest, Placed, Reasons};

/// What a node last said of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heard {
    pub load: Load,
    pub age_ms: u64,
    /// It takes no new participant (`limit.num_tracks`, `limit.bytes_per_sec`).
    pub full: bool,
}

/// The heartbeats as this node has heard them.
pub trait Figures: Send + Sync {
    fn of(&self, node: NodeId) -> Option<Heard>;
}

impl Figures for Heartbeats {
    fn of(&self, node: NodeId) -> Option<Heard> {
        let heard = self.of(node)?;
        Some(Heard {
            load: heard.beat.load(),
            age_ms: u64::try_from(heard.age.as_millis()).unwrap_or(u64::MAX),
            full: heard.beat.full,
        })
    }
}

pub struct Placing {
    cluster: Cluster,
    links: Arc<dyn Links>,
    figures: Arc<dyn Figures>,
    selector: Selector,
    inner: Mutex<Inner>,
}

struct Inner {
    rng: ChaCha12Rng,
    /// Rooms that no heartbeat knows of yet.
    pending: VecDeque<(Instant, NodeId)>,
    explanations: BTreeMap<String, Reasons>,
    /// Names in `explanations`, oldest first.
    explained: VecDeque<String>,
}

impl Placing {
    /// `seed`: from the operating system outside of simulations.
    pub fn new(
        cluster: Cluster,
        links: Arc<dyn Links>,
        figures: Arc<dyn Figures>,
        selector: Selector,
        seed: u64,
    ) -> Self {
        let inner = Inner {
            rng: ChaCha12Rng::seed_from_u64(seed),
            pending: VecDeque::new(),
            explanations: BTreeMap::new(),
            explained: VecDeque::new(),
        };
        Self {
            cluster,
            links,
            figures,
            selector,
            inner: Mutex::new(inner),
        }
    }

    /// A holder that panicked left whole tables: every change is a single step.
    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seed(&self) -> u64 {
        self.locked().rng.next_u64()
    }

    async fn answer(&self, request: PlaceRequest) -> Answer {
        if request.explain {
            let known = self.locked().explanations.get(&request.room).cloned();
            return Answer::Explanation(known.unwrap_or_default());
        }
        let status = self.cluster.status();
        if status.role != Role::Leader {
            return Answer::NotLeader(status.leader.map_or(0, |leader| leader.0));
        }
        let name = RoomName::from(request.room.as_str());
        // One reading: a room placed between two of them would be taken for an orphan, and moved.
        let (known, orphan) = self
            .cluster
            .read(|state| (found(state, &name), state.room(&name).cloned()));
        if let Found::Placed(place) = known {
            return Answer::Placed(Placed {
                home: place.home.0,
                epoch: place.epoch.0,
                sid: place.sid.0,
            });
        }
        let (placement, sid) = match self.choose(&request.region) {
            Ok(chosen) => chosen,
            Err(none) => return Answer::NoMediaNode(none.to_string()),
        };
        let action = match orphan {
            Some(orphan) => Action::MoveRoom {
                name,
                epoch: orphan.epoch,
                home: placement.home,
                standby: placement.standby,
            },
            None => Action::PlaceRoom {
                name,
                sid,
                home: placement.home,
                standby: placement.standby,
            },
        };
        match self.cluster.propose(action).await {
            Ok(committed) => match committed.outcome {
                Outcome::Room { room, .. } => {
                    self.note(&request.room, &room, &placement);
                    placed(&room)
                }
                other => Answer::Refused(format!("unexpected outcome {other:?}")),
            },
            Err(ProposeError::Refused(refusal)) => self.refused(&request.room, refusal),
            Err(error) => {
                tracing::warn!(room = request.room, %error, "a room could not be placed");
                Answer::NotLeader(0)
            }
        }
    }

    /// For a node that does not reach the leader itself.
    async fn hand_on(&self, leader: NodeId, mut request: PlaceRequest) -> Result<Bytes, String> {
        request.hand_on = false;
        let request = Bytes::from(request.encode_to_vec());
        let (service, within) = (Service::Placement, PLACE_CALL_TIMEOUT);
        let asked = self.links.call(leader, service, request, within);
        asked.await.map_err(|error| error.to_string())
    }

    /// Somebody was faster, or a node went away meanwhile: the asker asks again.
    fn refused(&self, room: &str, refusal: Refusal) -> Answer {
        match refusal {
            Refusal::Full { .. } | Refusal::TooLong { .. } => Answer::Refused(refusal.to_string()),
            refusal => {
                tracing::info!(room, %refusal, "placing again");
                Answer::NotLeader(0)
            }
        }
    }

    fn choose(&self, here: &str) -> Result<(Placement, RoomSid), placement::NoMediaNode> {
        let mut inner = self.locked();
        let now = Instant::now();
        inner.forget_pending(now);
        let mut candidates = self.cluster.read(|state| self.candidates(state));
        for candidate in &mut candidates {
            let pending = inner.pending.iter().filter(|(_, n)| *n == candidate.node);
            let pending = u32::try_from(pending.count()).unwrap_or(u32::MAX);
            candidate.load.rooms = candidate.load.rooms.saturating_add(pending);
            candidate.load.cpu += f64::from(pending) * PENDING_ROOM_CPU;
        }
        let seed = inner.rng.next_u64();
        let placement = placement::place(&candidates, &self.selector, here, seed)?;
        if inner.pending.len() < PENDING_ROOMS_MAX {
            inner.pending.push_back((now, placement.home));
        }
        let sid = protocol::ids::RoomSid::random(&mut inner.rng).0;
        Ok((placement, RoomSid(sid)))
    }

    fn candidates(&self, state: &State) -> Vec<Candidate> {
        let candidate = |(node, known): (NodeId, &consensus::state::Node)| {
            let heard = self.figures.of(node);
            Candidate {
                node,
                host: known.info.host.clone(),
                zone: known.info.zone.clone(),
                region: known.info.region.clone(),
                media: known.info.roles.media,
                state: known.state,
                stats_age_ms: heard.map(|heard| heard.age_ms),
                load: heard.map_or_else(Load::default, |heard| heard.load),
                full: heard.is_some_and(|heard| heard.full),
            }
        };
        state.nodes().map(candidate).collect()
    }

    fn note(&self, name: &str, room: &Room, placement: &Placement) {
        if room.home != placement.home {
            return;
        }
        let why = placement.explanation.to_string();
        tracing::info!(room = name, home = %room.home, epoch = %room.epoch, why, "room placed");
        let epoch = room.epoch.0;
        let mut inner = self.locked();
        let told = Reasons { epoch, why };
        if inner.explanations.insert(name.to_owned(), told).is_none() {
            inner.explained.push_back(name.to_owned());
        }
        while inner.explained.len() > EXPLANATIONS_MAX {
            if let Some(oldest) = inner.explained.pop_front() {
                inner.explanations.remove(&oldest);
            }
        }
    }
}

impl Inner {
    fn forget_pending(&mut self, now: Instant) {
        let lasts: Duration = PENDING_ROOM_LASTS;
        while self
            .pending
            .front()
            .is_some_and(|(at, _)| *at + lasts <= now)
        {
            self.pending.pop_front();
        }
    }
}

fn placed(room: &Room) -> Answer {
    Answer::Placed(Placed {
        home: room.home.0,
        epoch: room.epoch.0,
        sid: room.sid.0.clone(),
    })
}

impl Serve for Placing {
    fn call(&self, _: NodeId, request: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            let request = PlaceRequest::decode(request).map_err(|error| error.to_string())?;
            let answer = match self.answer(request.clone()).await {
                Answer::NotLeader(leader) if request.hand_on && leader != 0 => {
                    return self.hand_on(NodeId(leader), request).await;
                }
                answer => Some(answer),
            };
            Ok(PlaceReply { answer }.encode_to_vec().into())
        })
    }

    fn stream(&self, _: NodeId, _: Duplex) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
