//! Rooms that span nodes: which node's shards are told what, whose facts the room hears, and who is
//! told what when a node of the room dies.

use media::event::TransportState;
use media::{Command, Event, TransportKey};

use super::*;
use crate::participant::KeySpace;
use crate::rooms::ROOM_NUMBERS;

async fn eventually(what: &str, probe: impl Fn() -> bool) {
    let held = async {
        while !probe() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let held = tokio::time::timeout(PATIENCE, held).await;
    held.unwrap_or_else(|_| panic!("{what}"));
}

impl Stage {
    /// Everybody on another node than the one before; `home` knows the others.
    async fn start_spreading(home: NodeId) -> Self {
        let stage = Self::start_as(Options {
            auto_create: true,
            spread: 1,
        });
        let stage = stage.await;
        stage.prefer(home);
        let span = stage.nodes[&home].span.clone();
        eventually("what the others are", || span.far().len() == 2).await;
        stage
    }

    /// Transports that shards of `at` were told to make and not to close.
    fn transports(&self, at: NodeId) -> Vec<TransportKey> {
        open_transports(&self.nodes[&at].told)
    }

    /// Those of them that are of other nodes' rooms.
    fn carried(&self, at: NodeId) -> Vec<TransportKey> {
        let mut carried = self.transports(at);
        carried.retain(|key| KeySpace::room_of(key.0) >= ROOM_NUMBERS);
        carried
    }

    async fn is_active(&self, identity: &str) -> bool {
        let request = proto::RoomParticipantIdentity {
            room: "daily".into(),
            identity: identity.into(),
            ..Default::default()
        };
        let found: Result<proto::ParticipantInfo, _> =
            self.call(C, "GetParticipant", &request).await;
        found.unwrap().state() == proto::participant_info::State::Active
    }
}

fn open_transports(told: &Told) -> Vec<TransportKey> {
    let mut open = Vec::new();
    for command in told.0.lock().unwrap().iter() {
        match command {
            Command::AddTransport { transport, .. } => open.push(*transport),
            Command::CloseTransport { transport } => open.retain(|one| one != transport),
            _ => {}
        }
    }
    open
}

#[actix_web::test]
async fn a_participant_carried_elsewhere_is_one_of_the_room() {
    let mut stage = Stage::start_spreading(B).await;
    let (_alice, _) = stage.join(A, "daily", "alice").await;
    assert_eq!(stage.home(A, "daily").unwrap().0, B);
    let (_bob, second) = stage.join(C, "daily", "bob").await;
    assert_eq!(second.other_participants.len(), 1);
    eventually("A is told", || !stage.carried(A).is_empty()).await;
    assert!(!stage.transports(B).is_empty(), "alice");
    assert!(stage.carried(C).is_empty());

    // The number of the room's part is A's, and no room of A has it.
    assert_eq!(stage.carried(A), stage.transports(A));
    for transport in stage.carried(A) {
        let state = TransportState::Connected;
        let fact = Event::Transport { transport, state };
        assert!(stage.nodes[&A].span.take(fact).is_none());
    }
    let active = async {
        while !stage.is_active("bob").await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, active).await.unwrap();
    assert!(!stage.is_active("alice").await);
}

#[actix_web::test]
async fn when_a_node_dies_those_it_carried_come_back_and_the_others_stay() {
    let mut stage = Stage::start_spreading(B).await;
    let (mut alice, _) = stage.join(C, "daily", "alice").await;
    let (mut bob, _) = stage.join(C, "daily", "bob").await;
    eventually("A is told", || !stage.carried(A).is_empty()).await;
    stage.kill(A);
    bob.is_sent_back().await;
    assert_eq!(stage.list(C).await, [("daily".to_owned(), 1)]);
    stage.declare_dead(A).await;
    let (_bob, _) = stage.join(C, "daily", "bob").await;
    eventually("C carries him", || !stage.carried(C).is_empty()).await;
    while let Ok(told) = alice.heard.try_recv() {
        let told = format!("{told:?}");
        assert!(!told.contains("Leave"), "{told}");
    }
}

#[actix_web::test]
async fn a_part_ends_with_its_last_participant_and_with_its_home() {
    let mut stage = Stage::start_spreading(B).await;
    let (_alice, _) = stage.join(C, "daily", "alice").await;
    let (bob, _) = stage.join(C, "daily", "bob").await;
    eventually("A is told", || !stage.carried(A).is_empty()).await;
    bob.say(proto::signal_request::Message::Leave(Default::default()));
    eventually("he left", || stage.carried(A).is_empty()).await;

    let (_bob, _) = stage.join(C, "daily", "bob").await;
    eventually("A is told again", || !stage.carried(A).is_empty()).await;
    stage.kill(B);
    eventually("the home is gone", || stage.carried(A).is_empty()).await;
}

#[actix_web::test]
async fn a_part_ends_when_its_room_has_another_home() {
    let mut stage = Stage::start_spreading(B).await;
    let (_alice, _) = stage.join(C, "daily", "alice").await;
    let (_bob, _) = stage.join(C, "daily", "bob").await;
    eventually("A is told", || !stage.carried(A).is_empty()).await;
    // It only stands still: its streams are open, and the log has gone on.
    stage.declare_dead(B).await;
    eventually("A closed its part", || stage.carried(A).is_empty()).await;
}

#[actix_web::test]
async fn a_node_that_drains_sends_those_it_carries_elsewhere() {
    let mut stage = Stage::start_spreading(B).await;
    let (mut alice, _) = stage.join(C, "daily", "alice").await;
    let (mut bob, _) = stage.join(C, "daily", "bob").await;
    eventually("A is told", || !stage.carried(A).is_empty()).await;
    let leader = stage.leader().await;
    let drain = Action::DrainNode { node: A };
    leader.propose(drain).await.unwrap();
    bob.is_sent_back().await;
    let (_bob, _) = stage.join(C, "daily", "bob").await;
    eventually("C carries him", || !stage.carried(C).is_empty()).await;
    assert!(stage.carried(A).is_empty());
    while let Ok(told) = alice.heard.try_recv() {
        let told = format!("{told:?}");
        assert!(!told.contains("Leave"), "{told}");
    }
}
