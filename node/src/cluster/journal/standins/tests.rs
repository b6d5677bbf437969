//! What shards and homes are told of transports that are stood by for.
#![allow(clippy::unwrap_used, clippy::panic)]

use consensus::ids::{Epoch, LogIndex};

use super::*;
use crate::room::environment::RoomsConfig;
use crate::rooms::testing::{endpoint, rooms};

const HOME: NodeId = NodeId(1);
const DAILY: &str = "daily";

#[derive(Default)]
struct Sink(Mutex<Vec<String>>);

impl ShardSink for Sink {
    fn send(&self, _: &str, _: usize, command: Command) {
        let within = |key: media::TransportKey| KeySpace::within_room(key.0);
        let said = match command {
            Command::AddStandby {
                transport, probe, ..
            } => format!("add {} probe={probe}", within(transport)),
            Command::UpdateStandby { transport, .. } => format!("update {}", within(transport)),
            Command::DropStandby { transport } => format!("drop {}", within(transport)),
            other => panic!("{other:?}"),
        };
        self.0.lock().unwrap().push(said);
    }
}

struct World {
    standins: StandIns,
    sink: Arc<Sink>,
    words: mpsc::Receiver<Bytes>,
    number: u32,
}

fn mandate(since: u64) -> Mandate {
    Mandate {
        home: HOME,
        epoch: Epoch(4),
        standby: NodeId(2),
        since: LogIndex(since),
    }
}

impl World {
    async fn new() -> Self {
        let sink = Arc::new(Sink::default());
        let rooms = rooms(RoomsConfig::default(), false);
        let standins = StandIns::new(rooms, sink.clone(), Arc::new(endpoint()));
        let (said, words) = mpsc::channel(64);
        standins.stream_began(HOME, said);
        let mut world = Self {
            standins,
            sink,
            words,
            number: 0,
        };
        world.settle(mandate(7), true).await;
        world
    }

    async fn settle(&mut self, mandate: Mandate, wanted: bool) {
        let reserved = self.standins.reserve(DAILY).await.unwrap();
        self.number = reserved.reservation.number;
        self.standins.settle(DAILY, &mandate, reserved, wanted);
    }

    fn apply(&self, transport: u64, change: MediaChange) {
        let entry = MediaEntry { transport, change };
        self.standins.apply(DAILY, &mandate(7), vec![entry]);
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.sink.0.lock().unwrap())
    }

    fn hear(&self, transport: u64, event: impl Fn(media::TransportKey) -> Event) {
        let room = KeySpace::new(self.number, 0).room.0;
        let event = event(media::TransportKey(room | transport));
        self.standins.hear(DAILY, &event);
    }

    fn ready(&self, transport: u64, ready: bool) {
        self.hear(transport, |transport| Event::StandbyReady {
            transport,
            ready,
        });
    }

    fn words(&mut self) -> Vec<(u64, StandbyWord)> {
        let mut words = Vec::new();
        while let Ok(frame) = self.words.try_recv() {
            match FromStandby::decode(frame[4], frame.slice(5..)).unwrap() {
                FromStandby::Media {
                    transport, word, ..
                } => words.push((transport, word)),
                other => panic!("{other:?}"),
            }
        }
        words
    }
}

fn image(sid: &str, of: u32) -> MediaChange {
    MediaChange::Image {
        participant_sid: sid.into(),
        transports: of,
        shard: 0,
        probe: false,
        image: Bytes::from_static(b"image"),
    }
}

#[actix_web::test]
async fn nothing_goes_on_that_was_known_under_another_mandate() {
    let mut world = World::new().await;
    world.apply(5, image("PA_a", 1));
    world.ready(5, true);
    assert!(world.standins.is_warm(DAILY, "PA_a"));
    assert!(world.standins.take(DAILY, &mandate(8)).is_empty());
    assert_eq!(world.told(), ["add 5 probe=false", "drop 5"]);

    world.settle(mandate(7), true).await;
    world.apply(5, image("PA_a", 1));
    world.ready(5, true);
    assert_eq!(Vec::from_iter(world.standins.take(DAILY, &mandate(7))), [5]);
    assert_eq!(world.told(), ["add 5 probe=false"]);
}

#[actix_web::test]
async fn a_number_that_came_too_late_replaces_nothing() {
    let mut world = World::new().await;
    world.apply(5, image("PA_a", 1));
    let first = world.number;
    world.settle(mandate(8), false).await;
    assert_eq!(world.number, first, "the room's");
    assert!(world.standins.knows(DAILY, &mandate(7)));
    assert_eq!(world.told(), ["add 5 probe=false"]);
    // It is kept as long as somebody stands by under it, and no longer.
    let other = world.standins.reserve("other").await.unwrap();
    assert_ne!(other.reservation.number, first);
    world.settle(mandate(8), true).await;
    assert_eq!(world.told(), ["drop 5"]);
    world.standins.forget(DAILY);
    assert_eq!(world.standins.locked().weight, Weight::default());
}

#[actix_web::test]
async fn what_a_shard_cannot_read_is_refused_for_good() {
    let mut world = World::new().await;
    world.apply(5, image("PA_a", 1));
    world.hear(5, |transport| Event::StandbyCannot { transport });
    let cannot = StandbyWord::Cannot(CannotReason::Unreadable);
    assert_eq!(world.words(), [(5, cannot)]);
    assert_eq!(world.told(), ["add 5 probe=false", "drop 5"]);
    // On its way before the home heard of it; and after the room was said anew.
    world.apply(5, image("PA_a", 1));
    world.standins.forget(DAILY);
    world.settle(mandate(7), true).await;
    world.apply(5, image("PA_a", 1));
    world.apply(5, MediaChange::Delta(Bytes::from_static(b"delta")));
    assert!(world.told().is_empty());
    world.hear(5, |transport| Event::StandbyHas {
        transport,
        version: 9,
        ready: true,
    });
    assert!(world.words().is_empty());
    // Under another mandate everything begins anew.
    world.standins.forgive(|_, known| *known == mandate(8));
    world.apply(5, image("PA_a", 1));
    assert_eq!(world.told(), ["add 5 probe=false"]);
}

#[actix_web::test]
async fn what_was_lost_on_the_way_is_made_good() {
    let mut world = World::new().await;
    world.apply(5, MediaChange::Delta(Bytes::from_static(b"delta")));
    assert_eq!(world.words(), [(5, StandbyWord::Stale)]);
    world.apply(5, image("PA_a", 1));
    world.apply(6, image("PA_a", 2));
    world.ready(5, true);
    assert!(!world.standins.is_warm(DAILY, "PA_a"));
    world.ready(6, true);
    assert!(world.standins.is_warm(DAILY, "PA_a"));
    world.told();
    // That 6 is gone was lost, and that it is ready no longer.
    world.apply(5, image("PA_a", 1));
    world.apply(0, MediaChange::Only(vec![5]));
    assert_eq!(world.told(), ["add 5 probe=false", "drop 6"]);
    assert!(world.standins.is_warm(DAILY, "PA_a"));
    world.words();
    world.hear(5, |transport| Event::StandbyHas {
        transport,
        version: 4,
        ready: false,
    });
    assert!(!world.standins.is_warm(DAILY, "PA_a"));
    let words = world.words();
    let [
        (
            5,
            StandbyWord::Has {
                version: 4,
                ready: false,
                ..
            },
        ),
    ] = &words[..]
    else {
        panic!("{words:?}");
    };
}

#[actix_web::test]
async fn more_than_a_node_may_keep_is_refused_with_a_word() {
    let mut world = World::new().await;
    world.apply(5, image("PA_a", 1));
    let most = crate::cluster::limits::STAND_INS_BYTES_MAX;
    world.standins.locked().weight.bytes += most - 7;
    world.apply(6, image("PA_b", 1));
    let full = StandbyWord::Cannot(CannotReason::Full);
    assert_eq!(world.words(), [(6, full)]);
    assert_eq!(world.told(), ["add 5 probe=false", "drop 6"]);
    world.apply(5, MediaChange::Gone);
    assert_eq!(world.told(), ["drop 5"]);
    assert_eq!(world.standins.locked().weight.bytes, most - 7);
}
