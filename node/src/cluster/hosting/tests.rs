//! Which rooms a process may open, over its lives and its neighbours'.
#![allow(clippy::unwrap_used, clippy::panic)]

use consensus::command::Outcome;
use consensus::ids::RoomSid;

use super::*;
use crate::cluster::directory::{Found, found};
use crate::cluster::testing::Group;
use crate::room::environment::Hosting;

const ME: NodeId = NodeId(2);

#[derive(Default)]
struct Fenced(Mutex<Vec<(String, Epoch)>>);

impl LocalRooms for Fenced {
    fn fence(&self, room: &str, epoch: Epoch, _: bool) {
        self.0.lock().unwrap().push((room.to_owned(), epoch));
    }

    fn revive(&self, _: &str) {}
}

struct Bench {
    group: Group,
    homes: Homes,
    fenced: Arc<Fenced>,
    membership: watch::Sender<Membership>,
}

impl Bench {
    async fn new() -> Self {
        let group = Group::new(1, 2).await;
        let fenced = Arc::new(Fenced::default());
        let (membership, phase) = watch::channel(Membership::Entering("starting".into()));
        let cluster = group.clusters[&ME.0].clone();
        cluster.catch_up().await.unwrap();
        let (images, _) = Images::start(cluster.clone());
        let (homes, _) = Homes::start(cluster, fenced.clone(), images, phase);
        Self {
            group,
            homes,
            fenced,
            membership,
        }
    }

    async fn propose(&self, action: Action) -> Outcome {
        let done = self.group.clusters[&1].propose(action).await.unwrap();
        self.group.clusters[&ME.0].catch_up().await.unwrap();
        done.outcome
    }

    async fn place(&self) -> Epoch {
        let placed = self.propose(Action::PlaceRoom {
            name: "daily".into(),
            sid: RoomSid("RM_x".into()),
            home: ME,
            standby: None,
        });
        self.room_of(placed.await)
    }

    fn room_of(&self, outcome: Outcome) -> Epoch {
        match outcome {
            Outcome::Room { room, .. } => room.epoch,
            other => panic!("{other:?}"),
        }
    }

    fn incarnation(&self) -> Epoch {
        self.group.clusters[&ME.0].read(|state| state.node(ME).unwrap().incarnation)
    }

    /// A process begins, and has registered.
    async fn register(&self) -> Epoch {
        let info = self.group.clusters[&1].read(|state| state.node(ME).unwrap().info.clone());
        let register = Action::RegisterNode { node: ME, info };
        let Outcome::Epoch(incarnation) = self.propose(register).await else {
            panic!("no incarnation");
        };
        let node = ME;
        self.propose(Action::ActivateNode { node, incarnation })
            .await;
        incarnation
    }

    fn is_member(&self, incarnation: Epoch) {
        self.membership
            .send_replace(Membership::Member(incarnation));
    }

    async fn until_fenced(&self, epoch: Epoch) {
        while !self
            .fenced
            .0
            .lock()
            .unwrap()
            .contains(&("daily".into(), epoch))
        {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_process_opens_nothing_before_it_has_registered() {
    let bench = Bench::new().await;
    let epoch = bench.place().await;
    assert!(!bench.homes.is_open("daily", epoch));
    assert!(bench.homes.begin("daily").is_none());
    bench.is_member(bench.incarnation());
    assert_eq!(bench.homes.enter("daily", epoch).await, Ok(()));
    let tenure = bench.homes.begin("daily").unwrap();
    assert_eq!(tenure.epoch, epoch.0);
}

#[tokio::test]
async fn what_an_earlier_life_had_is_opened_only_when_it_was_placed_again() {
    let bench = Bench::new().await;
    bench.place().await;
    let incarnation = bench.register().await;
    bench.is_member(incarnation);
    assert!(bench.homes.begin("daily").is_none());
    let name = RoomName::from("daily");
    let cluster = &bench.group.clusters[&1];
    assert_eq!(cluster.read(|state| found(state, &name)), Found::Orphaned);
    let epoch = cluster.read(|state| state.room(&name).unwrap().epoch);
    let moved = bench.propose(Action::MoveRoom {
        name,
        epoch,
        home: ME,
        standby: None,
    });
    let epoch = bench.room_of(moved.await);
    assert_eq!(bench.homes.begin("daily").unwrap().epoch, epoch.0);
}

#[tokio::test]
async fn a_process_whose_id_another_registered_gives_up_what_it_had() {
    let bench = Bench::new().await;
    bench.is_member(bench.incarnation());
    let epoch = bench.place().await;
    bench.homes.begin("daily").unwrap();
    bench.register().await;
    bench.until_fenced(epoch).await;
    bench.homes.ended("daily", epoch.0);
    let again = bench.propose(Action::PlaceRoom {
        name: "other".into(),
        sid: RoomSid("RM_y".into()),
        home: ME,
        standby: None,
    });
    let epoch = bench.room_of(again.await);
    assert!(!bench.homes.is_open("other", epoch), "the other process's");
}

#[tokio::test]
async fn a_room_that_is_declined_is_free_to_be_placed_elsewhere() {
    let bench = Bench::new().await;
    bench.is_member(bench.incarnation());
    let epoch = bench.place().await;
    bench.homes.decline("daily");
    assert_eq!(bench.homes.enter("daily", epoch).await, Err(NotHere));
    let name = RoomName::from("daily");
    let known = bench.group.clusters[&1].read(|state| state.room(&name).cloned());
    assert_eq!(known, None);
    // Not one that runs.
    bench.place().await;
    bench.homes.begin("daily").unwrap();
    bench.homes.decline("daily");
    bench.group.clusters[&ME.0].catch_up().await.unwrap();
    assert!(bench.group.clusters[&1].read(|state| state.room(&name).is_some()));
}
