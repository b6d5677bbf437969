//! Journals over real consensus in virtual time, of rooms that are scripted: what standbys know,
//! when homes die, streams break and rooms move.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use consensus::command::Action;
use consensus::ids::{LogIndex, RoomSid};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::wire::{Batch, Extent};
use super::*;
use crate::cluster::hosting::LocalRooms;
use crate::cluster::links::registry::Registry;
use crate::cluster::membership::Phase;
use crate::cluster::testing::Group;
use crate::room::environment::{Hosting, Opening};
use crate::room::journal::{JournalEntry, RecordKey, RoomImage};

const HOME: NodeId = NodeId(2);
const STANDBY: NodeId = NodeId(3);
const OTHER: NodeId = NodeId(1);
const DAILY: &str = "daily";

/// The rooms of one node.
#[derive(Default)]
struct Scripted {
    image: Mutex<RoomImage>,
    follower: Mutex<Option<Arc<dyn Follower>>>,
    told: Mutex<Vec<String>>,
}

impl Scripted {
    fn tell(&self, what: &str) {
        self.told.lock().unwrap().push(what.to_owned());
    }

    fn write(&self, number: u16, record: &'static [u8]) {
        let entry = JournalEntry {
            key: RecordKey::Member(number),
            record: Some(Bytes::from_static(record)),
        };
        self.image.lock().unwrap().apply(entry.clone());
        if let Some(follower) = &*self.follower.lock().unwrap() {
            follower.changed(vec![entry]);
        }
    }
}

impl Followed for Scripted {
    fn follow(&self, _: &str, follower: Option<Arc<dyn Follower>>) {
        if let Some(follower) = &follower {
            let image = self.image.lock().unwrap();
            let entry = |(key, record): (RecordKey, &Bytes)| JournalEntry {
                key,
                record: Some(record.clone()),
            };
            follower.changed(image.records().map(entry).collect());
        }
        *self.follower.lock().unwrap() = follower;
    }

    fn standby_said(&self, room: &str, transport: u64, word: StandbyWord) {
        self.tell(&format!("{room}: the standby of {transport} says {word:?}"));
    }

    fn flush<'a>(&'a self, _: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async { false })
    }
}

impl LocalRooms for Scripted {
    fn fence(&self, room: &str, _: Epoch, resume: bool) {
        self.tell(&format!("fence {room} resume={resume}"));
    }

    fn revive(&self, room: &str) {
        self.tell(&format!("revive {room}"));
    }
}

struct Node {
    rooms: Arc<Scripted>,
    images: Images,
    homes: Homes,
    registry: Registry,
    links: Arc<dyn Links>,
    phase: watch::Sender<Phase>,
}

struct World {
    group: Group,
    nodes: BTreeMap<NodeId, Node>,
}

impl World {
    /// Three nodes with media, the first of them leads.
    async fn new() -> Self {
        let group = Group::new(1, 2).await;
        let mut nodes = BTreeMap::new();
        for (id, cluster) in &group.clusters {
            let (registry, rooms) = (Registry::default(), Arc::new(Scripted::default()));
            let links = group.link(*id, &registry);
            let (images, _) = Images::start(cluster.clone());
            cluster.catch_up().await.unwrap();
            let life = cluster.read(|state| state.node(NodeId(*id)).unwrap().incarnation);
            let (phase, life) = watch::channel(Phase::Member(life));
            let (homes, _) = Homes::start(cluster.clone(), rooms.clone(), images.clone(), life);
            let journal = Journal::start(
                cluster.clone(),
                Arc::clone(&links),
                homes.clone(),
                rooms.clone(),
            );
            homes.ask_heirs(Arc::new(journal.0.clone()));
            let server = JournalServer::new(images.clone(), homes.clone(), journal.0);
            registry.add(Service::Journal, Arc::new(server));
            let node = Node {
                rooms,
                images,
                homes,
                registry,
                links,
                phase,
            };
            nodes.insert(NodeId(*id), node);
        }
        Self { group, nodes }
    }

    /// One with a room at `HOME` that `STANDBY` knows.
    async fn with_room() -> Self {
        let world = Self::new().await;
        world.open_room().await;
        world
            .until("known", || world.nodes[&STANDBY].images.holds(DAILY))
            .await;
        world
    }

    async fn open_room(&self) {
        self.propose(Action::PlaceRoom {
            name: DAILY.into(),
            sid: RoomSid("RM_daily".into()),
            home: HOME,
            standby: Some(STANDBY),
        })
        .await;
        self.nodes[&HOME].rooms.write(1, b"alice");
        self.until("placed", || self.epoch(HOME).is_some()).await;
        self.nodes[&HOME].homes.begin(DAILY).unwrap();
    }

    async fn propose(&self, action: Action) {
        self.group.clusters[&1].propose(action).await.unwrap();
    }

    async fn until(&self, what: &str, done: impl Fn() -> bool) -> Duration {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < Duration::from_secs(30), "{what}");
            sleep(Duration::from_millis(2)).await;
        }
        began.elapsed()
    }

    fn epoch(&self, at: NodeId) -> Option<Epoch> {
        let name = RoomName::from(DAILY);
        self.group.clusters[&at.0].read(|state| Some(state.room(&name)?.epoch))
    }

    /// Under which the standby holds what it knows.
    fn tenure(&self) -> Option<Tenure> {
        let name = RoomName::from(DAILY);
        let cluster = &self.group.clusters[&OTHER.0];
        cluster.read(|state| state.mandate(&name)).map(Tenure::from)
    }

    async fn set_standby(&self, standby: Option<NodeId>) {
        let epoch = self.epoch(OTHER).unwrap();
        let name = DAILY.into();
        self.propose(Action::SetStandby {
            name,
            epoch,
            standby,
        })
        .await;
    }

    async fn move_to(&self, home: NodeId, standby: Option<NodeId>) {
        let epoch = self.epoch(OTHER).unwrap();
        let name = DAILY.into();
        self.propose(Action::MoveRoom {
            name,
            epoch,
            home,
            standby,
        })
        .await;
    }

    async fn kill(&self, node: NodeId) {
        self.group.hub.take(node);
        self.group.voters.take(node);
        let incarnation = self.group.clusters[&1].read(|s| s.node(node).unwrap().incarnation);
        self.propose(Action::DeclareDead { node, incarnation })
            .await;
    }

    /// As its next home opens it.
    async fn opens(&self, at: NodeId) -> Opening {
        let revived = || {
            self.nodes[&at]
                .rooms
                .told
                .lock()
                .unwrap()
                .contains(&"revive daily".into())
        };
        self.until("revived", revived).await;
        self.nodes[&at].homes.begin(DAILY).unwrap()
    }
}

fn records(image: &RoomImage) -> Vec<&[u8]> {
    image.records().map(|(_, record)| &record[..]).collect()
}

/// By whatever entry.
fn appointed(epoch: Epoch, standby: NodeId) -> Mandate {
    Mandate {
        home: HOME,
        epoch,
        standby,
        since: LogIndex(0),
    }
}

#[tokio::test(start_paused = true)]
async fn a_standby_opens_the_room_as_its_home_left_it_and_the_next_one_knows_it_too() {
    let world = World::with_room().await;
    world.nodes[&HOME].rooms.write(2, b"bob");
    world.nodes[&HOME].rooms.write(1, b"alice again");
    sleep(Duration::from_millis(50)).await;
    world.kill(HOME).await;
    let opening = world.opens(STANDBY).await;
    assert_eq!(opening.sid, "RM_daily");
    let image = opening.image.unwrap();
    assert_eq!(records(&image), [&b"alice again"[..], b"bob"]);
    assert!(
        !world.nodes[&STANDBY].images.holds(DAILY),
        "it is a room now"
    );
    assert!(world.nodes[&STANDBY].homes.knows(DAILY));

    *world.nodes[&STANDBY].rooms.image.lock().unwrap() = image;
    world.set_standby(Some(OTHER)).await;
    world
        .until("known", || world.nodes[&OTHER].images.holds(DAILY))
        .await;
    world.kill(STANDBY).await;
    let image = world.opens(OTHER).await.image.unwrap();
    assert_eq!(records(&image), [&b"alice again"[..], b"bob"]);
}

#[tokio::test(start_paused = true)]
async fn after_a_break_everything_is_said_again() {
    let world = World::with_room().await;
    let standby = &world.nodes[&STANDBY];
    world.group.hub.take(STANDBY);
    world.nodes[&HOME].rooms.write(2, b"bob");
    sleep(Duration::from_secs(1)).await;
    world.group.link(STANDBY.0, &standby.registry);
    let epoch = world.epoch(OTHER).unwrap();
    let flushed = ask_flush(
        &*world.nodes[&OTHER].links,
        DAILY,
        &appointed(epoch, STANDBY),
    )
    .await;
    assert!(flushed.known);
    world.move_to(STANDBY, None).await;
    let image = world.opens(STANDBY).await.image.unwrap();
    assert_eq!(records(&image), [&b"alice"[..], b"bob"]);
}

#[tokio::test(start_paused = true)]
async fn a_room_moves_once_its_next_home_knows_it_and_only_then_clients_may_resume() {
    let world = World::with_room().await;
    let links = &*world.nodes[&OTHER].links;
    let epoch = world.epoch(OTHER).unwrap();
    world.set_standby(Some(OTHER)).await;
    assert!(
        ask_flush(links, DAILY, &appointed(epoch, OTHER))
            .await
            .known
    );
    assert_eq!(
        ask_heir(links, OTHER, DAILY, "", epoch).await.unwrap(),
        Heir::Knows
    );
    let forgot = || !world.nodes[&STANDBY].images.holds(DAILY);
    world.until("the former standby forgot it", forgot).await;
    assert_eq!(
        ask_heir(links, STANDBY, DAILY, "", epoch).await.unwrap(),
        Heir::Nobody
    );
    world.move_to(OTHER, None).await;
    assert!(world.opens(OTHER).await.image.is_some());
    assert_eq!(
        ask_heir(links, OTHER, DAILY, "", epoch).await.unwrap(),
        Heir::Knows
    );
    let fenced = |how: &str| {
        let told = world.nodes[&HOME].rooms.told.lock().unwrap();
        told.contains(&format!("fence daily resume={how}"))
    };
    world.until("fenced", || fenced("true")).await;

    let world = World::with_room().await;
    world.move_to(OTHER, None).await;
    let told = || !world.nodes[&HOME].rooms.told.lock().unwrap().is_empty();
    world.until("fenced", told).await;
    let told = world.nodes[&HOME].rooms.told.lock().unwrap().clone();
    assert_eq!(told, ["fence daily resume=false"]);
    let opening = world.nodes[&OTHER].homes.begin(DAILY).unwrap();
    assert!(opening.image.is_none());
    assert!(!world.nodes[&OTHER].homes.knows(DAILY));
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_cannot_be_reached_holds_a_move_up_for_a_bounded_time() {
    let world = World::with_room().await;
    let epoch = world.epoch(OTHER).unwrap();
    world.group.hub.take(STANDBY);
    world.nodes[&HOME].rooms.write(2, b"bob");
    let began = Instant::now();
    let links = &*world.nodes[&OTHER].links;
    assert!(
        !ask_flush(links, DAILY, &appointed(epoch, STANDBY))
            .await
            .known
    );
    assert!(began.elapsed() <= JOURNAL_FLUSH_PATIENCE + Duration::from_millis(10));
    // Nobody hosts this one: nothing is waited for.
    let began = Instant::now();
    assert!(
        !ask_flush(links, "other", &appointed(epoch, STANDBY))
            .await
            .known
    );
    assert!(began.elapsed() < Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn images_are_forgotten_with_the_room_and_kept_for_its_next_home_only() {
    let world = World::with_room().await;
    let epoch = world.epoch(OTHER).unwrap();
    let name = DAILY.into();
    world.propose(Action::CloseRoom { name, epoch }).await;
    let forgot = || !world.nodes[&STANDBY].images.holds(DAILY);
    world.until("forgotten", forgot).await;

    let world = World::with_room().await;
    world.set_standby(None).await;
    let forgot = || !world.nodes[&STANDBY].images.holds(DAILY);
    world.until("forgotten", forgot).await;

    let world = World::with_room().await;
    world.move_to(OTHER, Some(STANDBY)).await;
    let forgot = || !world.nodes[&STANDBY].images.holds(DAILY);
    world.until("of the epoch before", forgot).await;
}

fn batch(tenure: Tenure, record: &'static [u8]) -> Batch {
    Batch {
        seq: 1,
        room: DAILY.into(),
        tenure,
        extent: Extent::Begins,
        last: true,
        entries: vec![JournalEntry {
            key: RecordKey::Member(9),
            record: Some(Bytes::from_static(record)),
        }],
        media: Vec::new(),
        ends: false,
    }
}

const REFUSED: Result<(), images::Refused> = Err(images::Refused::NotOurs);

#[tokio::test(start_paused = true)]
async fn who_is_not_the_home_under_the_newest_epoch_writes_nothing() {
    let world = World::with_room().await;
    let images = &world.nodes[&STANDBY].images;
    let tenure = world.tenure().unwrap();
    let stream = images.stream_began(OTHER);
    assert_eq!(images.apply(OTHER, stream, batch(tenure, b"x")), REFUSED);
    let older = Tenure {
        epoch: Epoch(tenure.epoch.0 - 1),
        ..tenure
    };
    assert_eq!(images.apply(OTHER, stream, batch(older, b"x")), REFUSED);
    let stream = images.stream_began(HOME);
    assert_eq!(images.apply(HOME, stream - 1, batch(tenure, b"x")), REFUSED);
    let change = Batch {
        extent: Extent::Change,
        room: "other".into(),
        ..batch(tenure, b"x")
    };
    assert_eq!(images.apply(HOME, stream, change), REFUSED);
}

#[tokio::test(start_paused = true)]
async fn an_epoch_that_the_log_does_not_know_takes_nobodys_place() {
    let world = World::with_room().await;
    let images = &world.nodes[&STANDBY].images;
    let tenure = world.tenure().unwrap();
    for (epoch, since) in [
        (tenure.epoch.0 + 1, tenure.since.0),
        (tenure.epoch.0 + 1, tenure.since.0 + 1_000),
        (u64::MAX, u64::MAX),
    ] {
        let stream = images.stream_began(OTHER);
        let bogus = Tenure {
            epoch: Epoch(epoch),
            since: LogIndex(since),
        };
        let began = Instant::now();
        images.catch_up(bogus).await;
        assert!(began.elapsed() <= Duration::from_millis(110));
        let said = images.apply(OTHER, stream, batch(bogus, b"mallory"));
        assert_eq!(said, REFUSED, "{bogus:?}");
    }
    world.kill(HOME).await;
    let image = world.opens(STANDBY).await.image.unwrap();
    assert_eq!(records(&image), [b"alice"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_held_under_an_earlier_appointment_opens_nothing() {
    let world = World::with_room().await;
    let images = &world.nodes[&STANDBY].images;
    let first = world.tenure().unwrap();
    // The home cannot say anything under the second one.
    world.group.hub.take(STANDBY);
    world.set_standby(None).await;
    world.set_standby(Some(STANDBY)).await;
    let applied = || {
        let name = RoomName::from(DAILY);
        let cluster = &world.group.clusters[&STANDBY.0];
        cluster.read(|s| s.mandate(&name)).map(Tenure::from) != Some(first)
    };
    world.until("appointed again", applied).await;
    let second = world.tenure().unwrap();
    assert_eq!(second.epoch, first.epoch);
    world.until("forgotten", || !images.holds(DAILY)).await;
    // What was on its way.
    let stream = images.stream_began(HOME);
    assert_eq!(images.apply(HOME, stream, batch(first, b"old")), REFUSED);
    assert_eq!(images.apply(HOME, stream, batch(second, b"new")), Ok(()));
    world.set_standby(None).await;
    world.set_standby(Some(STANDBY)).await;
    let third = world.tenure().unwrap();
    world.kill(HOME).await;
    let here = || world.nodes[&STANDBY].homes.is_open(DAILY, third.epoch);
    world.until("it is the home", here).await;
    assert!(!images.inherits(DAILY));
    assert!(
        world.nodes[&STANDBY]
            .homes
            .begin(DAILY)
            .unwrap()
            .image
            .is_none()
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_standby_is_dismissed_and_its_room_follows_nobody_until_then() {
    let world = World::with_room().await;
    let follower = |node: NodeId| world.nodes[&node].rooms.follower.lock().unwrap().clone();
    let first = world.tenure().unwrap();
    world.group.hub.take(STANDBY);
    let complaining = follower(HOME).unwrap();
    (0..9).for_each(|_| complaining.silent());
    let dismissed = || world.tenure().is_none() && follower(HOME).is_none();
    world.until("dismissed", dismissed).await;
    // Whoever complains of a time that is over means nobody.
    world.set_standby(Some(OTHER)).await;
    complaining.silent();
    world
        .until("another knows it", || {
            world.nodes[&OTHER].images.holds(DAILY)
        })
        .await;
    sleep(Duration::from_secs(1)).await;
    assert!(world.tenure().unwrap().since > first.since);
}

#[tokio::test(start_paused = true)]
async fn numbers_are_free_as_soon_as_the_log_has_another_standby_that_nobody_reaches() {
    let world = World::with_room().await;
    world.group.hub.take(OTHER);
    world.set_standby(Some(OTHER)).await;
    let follower = || world.nodes[&HOME].rooms.follower.lock().unwrap().is_none();
    world.until("nobody follows", follower).await;
}

#[tokio::test(start_paused = true)]
async fn a_room_that_moves_goes_on_with_the_last_its_home_said() {
    let world = World::with_room().await;
    let follower = world.nodes[&HOME].rooms.follower.lock().unwrap().clone();
    let follower = follower.unwrap();
    world.move_to(STANDBY, None).await;
    let fenced = || !world.nodes[&HOME].rooms.told.lock().unwrap().is_empty();
    world.until("fenced", fenced).await;
    let moved = world.epoch(STANDBY).unwrap();
    let standby = &world.nodes[&STANDBY];
    let comes = || world.epoch(STANDBY) == Some(moved) && standby.images.inherits(DAILY);
    world.until("it comes", comes).await;
    assert!(!standby.homes.is_open(DAILY, moved), "more is expected");
    let began = Instant::now();
    let opened = async {
        assert!(standby.homes.enter(DAILY, moved).await.is_ok());
        began.elapsed()
    };
    let said = async {
        sleep(Duration::from_millis(20)).await;
        let entry = JournalEntry {
            key: RecordKey::Member(2),
            record: Some(Bytes::from_static(b"bob")),
        };
        follower.changed(vec![entry]);
        follower.finished();
    };
    let (opened, ()) = tokio::join!(opened, said);
    assert!(opened < Duration::from_millis(60), "{opened:?}");
    let image = world.opens(STANDBY).await.image.unwrap();
    assert_eq!(records(&image), [&b"alice"[..], b"bob"]);

    // It says nothing: it is waited for no longer than worth it.
    let world = World::with_room().await;
    world.move_to(STANDBY, None).await;
    let began = Instant::now();
    assert!(world.opens(STANDBY).await.image.is_some());
    let waited = began.elapsed();
    let longest = super::super::limits::LAST_WORDS_PATIENCE + Duration::from_millis(50);
    assert!(waited <= longest, "{waited:?}");
}

/// Its disk may have lost that an earlier life of it took the room over.
#[tokio::test(start_paused = true)]
async fn a_standby_takes_nothing_before_its_life_is_registered() {
    let world = World::new().await;
    let standby = &world.nodes[&STANDBY];
    let registered = standby
        .phase
        .send_replace(Phase::Registering(String::new()));
    world.open_room().await;
    sleep(Duration::from_secs(10)).await;
    assert!(!standby.images.holds(DAILY));
    standby.phase.send_replace(registered);
    world.until("known", || standby.images.holds(DAILY)).await;
}

#[tokio::test(start_paused = true)]
async fn a_home_that_lets_go_before_the_log_is_applied_here_takes_nothing_from_the_next_home() {
    let world = World::with_room().await;
    let standby = &world.nodes[&STANDBY];
    // It applied the move first, and follows the room to nowhere any more.
    standby.images.forget(HOME, DAILY, world.tenure().unwrap());
    world.move_to(STANDBY, Some(OTHER)).await;
    assert!(world.opens(STANDBY).await.image.is_some());

    // Where no move follows, it is kept for a moment only.
    let world = World::with_room().await;
    let images = &world.nodes[&STANDBY].images;
    images.forget(HOME, DAILY, world.tenure().unwrap());
    let lasted = world.until("forgotten", || !images.holds(DAILY)).await;
    assert!(lasted <= 2 * super::super::limits::SWEEP_INTERVAL + Duration::from_millis(50));
}
