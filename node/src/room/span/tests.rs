//! Which shard is told what as participants of a room on two shards publish and subscribe.
#![allow(clippy::unwrap_used)]

use media::types::{
    Extensions, IceCredentials, LayerLimit, LayerMode, MediaKind, ReceiveSection, SendSection,
};

use super::*;

const ROOM: u32 = 7;
const SHARDS: [u16; 2] = [0, 0];

struct Scene {
    span: Span,
    /// What the shards were told since the last look: shard and name of the command.
    told: Vec<(usize, String)>,
}

fn shards(full: usize) -> Full {
    Full {
        shard: Some(full),
        node: None,
    }
}

fn keys(participant: u16) -> u64 {
    KeySpace::new(ROOM, participant).allocator().transport().0
}

fn transport(participant: u16) -> TransportKey {
    TransportKey(keys(participant))
}

fn track(participant: u16) -> TrackKey {
    TrackKey(keys(participant) + 1)
}

fn down_track(participant: u16, number: u64) -> DownTrackKey {
    DownTrackKey(keys(participant) + 2 + number)
}

impl Scene {
    /// Participants 0, 1, 2, … on shards 0, 1, 0, …
    fn new(participants: u16) -> Scene {
        let room = KeySpace::new(ROOM, 0).room;
        let mut scene = Scene {
            span: Span::new(room, 0, RelayIds::default()),
            told: Vec::new(),
        };
        for number in 0..participants {
            let shard = scene.span.place(number, shards(1), &SHARDS, &[]);
            assert_eq!(shard, usize::from(number % 2));
            scene.tell(Command::AddTransport {
                transport: transport(number),
                room,
                local: IceCredentials {
                    ufrag: String::new(),
                    pwd: String::new(),
                },
                spare: false,
            });
        }
        scene.told.clear();
        scene
    }

    fn tell(&mut self, command: Command) {
        let told = &mut self.told;
        self.span.route(command, &mut |shard, command| {
            let name = format!("{command:?}");
            let end = name.find([' ', '{']).unwrap_or(name.len());
            told.push((shard, name[..end].to_owned()));
        });
    }

    fn told(&mut self) -> Vec<(usize, String)> {
        std::mem::take(&mut self.told)
    }

    fn publish(&mut self, participant: u16) {
        self.tell(Command::SetReceive {
            transport: transport(participant),
            sections: vec![section(track(participant), 96)],
        });
        self.tell(Command::AddTrack {
            track: track(participant),
            room: self.span.room,
            transport: transport(participant),
            config: TrackConfig {
                kind: MediaKind::Video,
                layer_mode: LayerMode::OneStreamPerLayer,
                rids: Vec::new(),
                encrypted: false,
                screen_share: false,
                build_red: false,
            },
        });
    }

    fn subscribe(&mut self, participant: u16, to: u16) {
        self.tell(Command::AddDownTrack {
            down_track: down_track(participant, to.into()),
            track: track(to),
            transport: transport(participant),
            section: SendSection {
                mid: "0".into(),
                ssrc: 1,
                rtx_ssrc: None,
                payload_types: Arc::default(),
                extensions: Extensions::default(),
            },
            limit: LayerLimit::HIGHEST,
            paused: false,
        });
    }

    fn unsubscribe(&mut self, participant: u16, from: u16) {
        self.tell(Command::RemoveDownTrack {
            down_track: down_track(participant, from.into()),
        });
    }
}

fn section(track: TrackKey, pt: u8) -> ReceiveSection {
    ReceiveSection {
        mid: "0".into(),
        kind: MediaKind::Video,
        payload_types: [PayloadType {
            codec: media::types::Codec::Vp8,
            pt,
            rtx_pt: None,
            fmtp: String::new(),
            nack: true,
        }]
        .into(),
        extensions: Extensions::default(),
        rids: Vec::new(),
        ssrcs: Vec::new(),
        track: Some(track),
    }
}

fn names(told: &[(usize, String)]) -> Vec<(usize, &str)> {
    told.iter()
        .map(|(shard, name)| (*shard, name.as_str()))
        .collect()
}

#[test]
fn a_track_is_relayed_while_anybody_on_another_shard_watches_it() {
    let mut scene = Scene::new(4);
    scene.publish(0);
    scene.subscribe(2, 0);
    let here = [(0, "SetReceive"), (0, "AddTrack"), (0, "AddDownTrack")];
    assert_eq!(names(&scene.told()), here, "no relay within a shard");

    scene.subscribe(1, 0);
    let first = [
        (0, "RelayTrack"),
        (1, "AddRelayedTrack"),
        (1, "AddDownTrack"),
    ];
    assert_eq!(names(&scene.told()), first);
    scene.subscribe(3, 0);
    assert_eq!(names(&scene.told()), [(1, "AddDownTrack")]);

    scene.unsubscribe(1, 0);
    assert_eq!(names(&scene.told()), [(1, "RemoveDownTrack")]);
    scene.unsubscribe(3, 0);
    let last = [(1, "RemoveDownTrack"), (1, "RemoveTrack"), (0, "StopRelay")];
    assert_eq!(names(&scene.told()), last);
}

#[test]
fn an_ended_track_ends_everywhere_once() {
    let mut scene = Scene::new(2);
    scene.publish(0);
    scene.subscribe(1, 0);
    scene.told();
    scene.tell(Command::RemoveTrack { track: track(0) });
    let ended = [(0, "RemoveTrack"), (1, "RemoveTrack")];
    assert_eq!(names(&scene.told()), ended);
    scene.unsubscribe(1, 0);
    assert_eq!(names(&scene.told()), [(1, "RemoveDownTrack")]);
    assert!(scene.span.tracks.is_empty() && scene.span.downs.is_empty());
}

#[test]
fn a_transport_that_closes_takes_relays_of_both_directions_with_it() {
    let mut scene = Scene::new(2);
    scene.publish(0);
    scene.publish(1);
    scene.subscribe(1, 0);
    scene.subscribe(0, 1);
    scene.told();
    scene.tell(Command::CloseTransport {
        transport: transport(1),
    });
    let closed = [
        (1, "CloseTransport"),
        (1, "RemoveTrack"),
        (0, "StopRelay"),
        (0, "RemoveTrack"),
    ];
    assert_eq!(names(&scene.told()), closed);
}

#[test]
fn another_source_is_there_before_the_switch_and_the_old_one_goes_after_it() {
    let mut scene = Scene::new(4);
    scene.publish(0);
    scene.publish(2);
    scene.subscribe(1, 0);
    scene.told();
    scene.tell(Command::SwitchDownTrack {
        down_track: down_track(1, 0),
        track: track(2),
    });
    let switched = [
        (0, "RelayTrack"),
        (1, "AddRelayedTrack"),
        (1, "SwitchDownTrack"),
        (1, "RemoveTrack"),
        (0, "StopRelay"),
    ];
    assert_eq!(names(&scene.told()), switched);
}

#[test]
fn a_section_that_is_negotiated_anew_reaches_the_shards_that_relay_it() {
    let mut scene = Scene::new(2);
    scene.publish(0);
    scene.subscribe(1, 0);
    scene.told();
    for pt in [96, 97] {
        scene.tell(Command::SetReceive {
            transport: transport(0),
            sections: vec![section(track(0), pt)],
        });
    }
    let told = [
        (0, "SetReceive"),
        (1, "SetRelayedPayloadTypes"),
        (0, "SetReceive"),
    ];
    assert_eq!(names(&scene.told()), told);
}

#[test]
fn a_room_stays_on_its_shard_until_it_outgrows_it() {
    let room = KeySpace::new(ROOM, 0).room;
    let placed = |full: usize, busy: [u16; 3], count: u16| {
        let mut span = Span::new(room, 1, RelayIds::default());
        let shards: Vec<usize> = (0..count)
            .map(|number| span.place(number, shards(full), &busy, &[]))
            .collect();
        shards
    };
    assert_eq!(placed(100, [0; 3], 100), [1; 100]);
    // Full: the one with the least to do, and only that one until it is full too.
    assert_eq!(placed(2, [300, 100, 200], 6), [1, 1, 2, 2, 0, 0]);
    // A shard with too much to do takes nobody new while others have less.
    assert_eq!(placed(100, [100, SHARD_BUSY_PERMILLE, 200], 3), [0, 0, 0]);
    assert_eq!(placed(100, [SHARD_BUSY_PERMILLE; 3], 3), [1, 1, 1]);
}

/// A shard of the node with that slot, as this node counts places.
fn far(slot: usize, busy_permille: u16) -> FarShard {
    FarShard {
        index: slot * crate::limits::SHARDS_MAX,
        busy_permille,
    }
}

fn placed(full: Full, near: &[u16], far: &[FarShard], count: u16) -> Vec<usize> {
    let mut span = Span::new(KeySpace::new(ROOM, 0).room, 0, RelayIds::default());
    (0..count)
        .map(|number| span.place(number, full, near, far))
        .collect()
}

#[test]
fn a_room_goes_to_other_nodes_when_its_own_has_enough_of_it() {
    let others = [far(1, 0), far(2, 0)];
    let (one, two) = (others[0].index, others[1].index);
    let nodes = |most| Full {
        shard: None,
        node: Some(most),
    };
    assert_eq!(
        placed(nodes(1), &[0, 0], &others, 6),
        [0, one, two, 0, one, two]
    );
    assert_eq!(placed(nodes(2), &[0], &others, 5), [0, 0, one, one, two]);
    let stays = Full::default();
    assert_eq!(placed(stays, &[0], &others, 3), [0, 0, 0]);
    assert_eq!(placed(nodes(1), &[0], &[], 3), [0, 0, 0]);
}

#[test]
fn a_busy_node_takes_nobody_new_while_others_have_room() {
    let full = Full {
        shard: None,
        node: Some(100),
    };
    let others = [far(1, 700), far(2, 0)];
    assert_eq!(placed(full, &[700], &others, 2), [others[1].index; 2]);
}

#[test]
fn shards_of_a_node_fill_before_further_nodes_do() {
    let full = Full {
        shard: Some(1),
        node: Some(2),
    };
    assert_eq!(
        placed(full, &[0, 0], &[far(1, 0)], 4),
        [0, 1, far(1, 0).index, far(1, 0).index]
    );
}
