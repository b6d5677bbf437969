//! Golden bytes: what every version of every encoding looks like, committed in `tests/golden`, a
//! file a version (name, hex). A test that fails here means that nodes of a released version could
//! not read this one's log, or this one theirs: add a version, do not change the file. New kinds
//! are appended with `SKEIN_GOLDEN=write`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod wire;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use crate::command::{Action, Command, JobKind, JobState, NodeInfo, Outcome, Roles, VoterWish};
use crate::encoding::{Content, EncodingError, VERSION, decode, decode_command, encode, encode_as};
use crate::ids::{Epoch, JobId, LogIndex, NodeId, RequestId};
use crate::state::{State, apply, decode_state, encode_state};

fn path(version: u16) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/v{version}.txt"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

fn committed(version: u16) -> BTreeMap<String, Vec<u8>> {
    let text = std::fs::read_to_string(path(version)).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, bytes)| (name.to_string(), unhex(bytes)))
        .collect()
}

/// Compares with what is committed and names what differs.
fn compare(version: u16, kind: &str, now: &[(String, Vec<u8>)]) -> BTreeMap<String, Vec<u8>> {
    let golden = committed(version);
    let mut wrong = Vec::new();
    for (name, bytes) in now {
        match golden.get(name) {
            Some(golden) if golden == bytes => {}
            Some(_) => wrong.push(format!("{name}: the bytes changed")),
            None => wrong.push(format!("{name}: has no golden bytes yet")),
        }
    }
    for name in golden.keys().filter(|n| n.starts_with(kind)) {
        if !now.iter().any(|(n, _)| n == name) {
            wrong.push(format!("{name}: is no longer written"));
        }
    }
    if std::env::var_os("SKEIN_GOLDEN").is_some_and(|v| v == "write") {
        let mut all = golden.clone();
        for (name, bytes) in now {
            all.entry(name.clone()).or_insert_with(|| bytes.clone());
        }
        let text: String = all
            .iter()
            .map(|(n, b)| format!("{n} {}\n", hex(b)))
            .collect();
        std::fs::write(path(version), text).unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    golden
}

/// Of a node of the first version.
fn info() -> NodeInfo {
    NodeInfo {
        roles: Roles {
            master: true,
            media: false,
        },
        address: "10.0.0.1:7890".into(),
        host: "host-a".into(),
        zone: "zone-a".into(),
        region: "berlin".into(),
        version_max: 1,
    }
}

fn node_actions() -> Vec<(&'static str, Action)> {
    let (node, incarnation) = (NodeId(7), Epoch(5));
    vec![
        ("register_node", Action::RegisterNode { node, info: info() }),
        ("activate_node", Action::ActivateNode { node, incarnation }),
        ("drain_node", Action::DrainNode { node }),
        ("declare_dead", Action::DeclareDead { node, incarnation }),
        ("remove_node", Action::RemoveNode { node }),
        (
            "wish_vote",
            Action::WishVote {
                node,
                wish: VoterWish::Never,
            },
        ),
        ("allocate_ids", Action::AllocateIds { count: 3 }),
    ]
}

fn room_actions() -> Vec<(&'static str, Action)> {
    let (home, standby) = (NodeId(7), Some(NodeId(8)));
    let epoch = Epoch(9);
    vec![
        (
            "place_room",
            Action::PlaceRoom {
                name: "daily".into(),
                sid: "RM_7hYxQ2kVn3Bd".into(),
                home,
                standby,
            },
        ),
        (
            "move_room",
            Action::MoveRoom {
                name: "daily".into(),
                epoch,
                home,
                standby,
            },
        ),
        (
            "set_standby",
            Action::SetStandby {
                name: "daily".into(),
                epoch,
                standby,
            },
        ),
        (
            "close_room",
            Action::CloseRoom {
                name: "daily".into(),
                epoch,
            },
        ),
        (
            "assert_home",
            Action::AssertHome {
                name: "daily".into(),
                home,
                epoch,
            },
        ),
    ]
}

fn other_actions() -> Vec<(&'static str, Action)> {
    let (owner, epoch) = (NodeId(7), Epoch(9));
    let job = JobId::from("EG_7hYxQ2kVn3Bd");
    vec![
        (
            "acquire_lease",
            Action::AcquireLease {
                name: "webhooks".into(),
                owner,
                over: Some(epoch),
            },
        ),
        (
            "release_lease",
            Action::ReleaseLease {
                name: "webhooks".into(),
                epoch,
            },
        ),
        (
            "create_job",
            Action::CreateJob {
                job: job.clone(),
                kind: JobKind::Egress,
                room: Some("daily".into()),
                detail: vec![1, 2, 3],
            },
        ),
        (
            "assign_job",
            Action::AssignJob {
                job: job.clone(),
                epoch,
                owner,
            },
        ),
        (
            "update_job",
            Action::UpdateJob {
                job: job.clone(),
                epoch,
                state: JobState::Running,
                detail: Some(vec![4]),
            },
        ),
        ("remove_job", Action::RemoveJob { job, epoch }),
        (
            "set_value",
            Action::SetValue {
                key: "keys/devkey".into(),
                value: b"secret".to_vec(),
                expected: Some(4),
            },
        ),
        (
            "remove_value",
            Action::RemoveValue {
                key: "keys/devkey".into(),
                expected: None,
            },
        ),
    ]
}

/// Added later; requests are numbered, so they come last.
fn later_actions() -> Vec<(&'static str, Action)> {
    let (node, epoch) = (NodeId(7), Epoch(9));
    let assert_lease = Action::AssertLease {
        name: "webhooks".into(),
        owner: node,
        epoch,
    };
    vec![
        ("assert_lease", assert_lease),
        ("end_drain", Action::EndDrain { node }),
    ]
}

fn commands() -> Vec<(String, Command)> {
    let actions = node_actions()
        .into_iter()
        .chain(room_actions())
        .chain(other_actions())
        .chain(later_actions());
    let command = |(at, (name, action)): (usize, (&str, Action))| {
        let request = RequestId {
            client: 0x5eed,
            number: at as u64,
        };
        (format!("command.{name}"), Command { request, action })
    };
    actions.enumerate().map(command).collect()
}

/// Something of everything: nodes in every state, and nothing empty.
fn state(version_max: u16) -> State {
    let mut state = State::default();
    let mut number = 0;
    let mut act = |action| {
        number += 1;
        let request = RequestId { client: 1, number };
        let command = Command { request, action };
        apply(&mut state, LogIndex(number), command).answer.unwrap()
    };
    for node in [7, 8, 9, 10, 11].map(NodeId) {
        let mut info = NodeInfo {
            version_max,
            ..info()
        };
        // Those that have a room below.
        info.roles.media = node.0 < 9;
        let registered = act(Action::RegisterNode { node, info });
        let Outcome::Epoch(incarnation) = registered else {
            panic!("{registered:?}");
        };
        match node.0 {
            7 | 8 => act(Action::ActivateNode { node, incarnation }),
            9 => act(Action::DeclareDead { node, incarnation }),
            10 => act(Action::DrainNode { node }),
            _ => act(Action::RemoveNode { node }),
        };
    }
    let owner = NodeId(7);
    act(room_actions().swap_remove(0).1);
    act(Action::AcquireLease {
        name: "webhooks".into(),
        owner,
        over: None,
    });
    act(other_actions().swap_remove(2).1);
    act(Action::AssignJob {
        job: "EG_7hYxQ2kVn3Bd".into(),
        epoch: Epoch(0),
        owner,
    });
    act(Action::SetValue {
        key: "keys/devkey".into(),
        value: b"secret".to_vec(),
        expected: None,
    });
    act(Action::AllocateIds { count: 3 });
    // As the bytes were when masters could have rooms.
    for node in state.nodes.values_mut() {
        node.info.roles.media = false;
    }
    assert_eq!(state.nodes.len(), 4);
    assert_eq!((state.rooms.len(), state.leases.len()), (1, 1));
    assert_eq!((state.jobs.len(), state.values.len()), (1, 1));
    state
}

#[test]
fn commands_are_written_and_read_as_in_version_1() {
    let commands = commands();
    let encoded: Vec<_> = commands
        .iter()
        .map(|(name, command)| (name.clone(), encode(Content::Command, command).unwrap()))
        .collect();
    let golden = compare(1, "command.", &encoded);
    for (name, command) in &commands {
        let read = decode_command(&golden[name]).unwrap();
        assert_eq!(&read, command, "{name}");
    }
}

#[test]
fn what_version_3_brought_is_written_and_read_as_then() {
    let action = Action::MoveToStandby {
        name: "daily".into(),
        epoch: Epoch(9),
        since: LogIndex(41),
        standby: Some(NodeId(8)),
    };
    let request = RequestId {
        client: 0x5eed,
        number: 1,
    };
    let version = action.since();
    let command = Command { request, action };
    let encoded = encode_as(Content::Command, version, &command).unwrap();
    let name = "command.move_to_standby";
    let golden = compare(version, "command.", &[(name.to_string(), encoded)]);
    assert_eq!(decode_command(&golden[name]).unwrap(), command);
    let mut newer = golden[name].clone();
    newer[6] = VERSION as u8 + 1;
    let (found, known) = (VERSION + 1, VERSION);
    assert_eq!(
        decode_command(&newer),
        Err(EncodingError::TooNew { found, known })
    );
}

#[test]
fn a_state_is_written_and_read_as_in_version_1_while_a_node_knows_no_other() {
    let mut state = state(1);
    let encoded = encode_state(&state).unwrap();
    let golden = compare(1, "state", &[("state".to_string(), encoded)]);
    let read = decode_state(&golden["state"]).unwrap();
    assert!(state.mandate(&"daily".into()).is_some());
    state.mandates.clear();
    assert_eq!(read, state);
}

#[test]
fn a_state_is_written_and_read_as_in_version_2() {
    let state = state(2);
    let encoded = encode_state(&state).unwrap();
    let golden = compare(2, "state", &[("state".to_string(), encoded)]);
    assert_eq!(decode_state(&golden["state"]).unwrap(), state);
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let bytes = encode_state(&State::default()).unwrap();
    let read = decode_state;
    assert!(read(&bytes).is_ok());
    let mut newer = bytes.clone();
    newer[6] = 3;
    assert_eq!(
        read(&newer),
        Err(EncodingError::TooNew { found: 3, known: 2 })
    );
    assert!(matches!(
        decode::<Command>(Content::Command, &bytes),
        Err(EncodingError::WrongContent { found: 4, .. })
    ));
    assert_eq!(read(b"skn"), Err(EncodingError::NoEnvelope));
    for cut in 8..bytes.len() {
        assert!(read(&bytes[..cut]).is_err(), "cut at {cut}");
    }
}
