//! Whole nodes on loopback with real disks: they find each other, and come back after an end.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::UdpSocket;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use consensus::command::{Action, NodeInfo, NodeState, Roles, VoterWish};
use consensus::disk::RealDisk;
use consensus::ids::ValueKey;
use consensus::store::Disks;
use operator::drain::request;
use quinn::TokioRuntime;
use tempfile::TempDir;

use super::*;
use crate::cluster::drain::Terms;
use crate::cluster::heartbeat::Beat;
use crate::cluster::links::LinkError;
use crate::cluster::membership::messages::{Question, encode};

const TOKEN: &str = "an example of a secret that is long enough";
const PATIENCE: Duration = Duration::from_secs(30);

/// Where one node is and what it keeps.
struct Place {
    address: String,
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        Self {
            address: socket.local_addr().unwrap().to_string(),
            directory: TempDir::new().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().to_path_buf()
    }
}

fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).unwrap();
    seed
}

fn disks(path: &Path) -> Result<Disks, consensus::disk::DiskError> {
    Ok(Disks {
        log: Box::new(RealDisk::open(&path.join("log"))?),
        snapshots: Box::new(RealDisk::open(&path.join("snapshots"))?),
    })
}

async fn start(place: &Place, join: &[&Place], roles: Roles) -> Result<ClusterNode, StartError> {
    start_with(place, join, roles, ClusterSecret::new(TOKEN).unwrap()).await
}

async fn start_with(
    place: &Place,
    join: &[&Place],
    roles: Roles,
    secret: ClusterSecret,
) -> Result<ClusterNode, StartError> {
    let runtime = Arc::new(TokioRuntime);
    let socket = UdpSocket::bind(&place.address).unwrap();
    let path = place.path();
    ClusterNode::start(NodeParts {
        settings: Settings {
            info: NodeInfo {
                roles,
                address: place.address.clone(),
                host: String::new(),
                zone: String::new(),
                region: String::new(),
                version_max: consensus::encoding::VERSION,
            },
            join: join.iter().map(|place| place.address.clone()).collect(),
            wish: VoterWish::Auto,
            long_lived: false,
        },
        secret,
        open_disks: Box::new(move || disks(&path)),
        wal: WalOptions::default(),
        options: ClusterOptions::default(),
        socket: runtime.wrap_udp_socket(socket).unwrap(),
        runtime,
        resolve: Arc::new(|name| {
            Box::pin(async move { Err(std::io::Error::other(format!("no names here: {name}"))) })
        }),
        pulse: Arc::new(Beat::default),
        seed: seed(),
    })
    .await
}

const BOTH: Roles = Roles {
    master: true,
    media: true,
};
const MEDIA: Roles = Roles {
    master: false,
    media: true,
};

async fn registered(node: &ClusterNode) -> Epoch {
    let mut phase = node.phase();
    let member = phase.wait_for(|phase| phase.incarnation().is_some());
    let member = timeout(PATIENCE, member).await;
    let phase = member.unwrap_or_else(|_| panic!("{:?}", *node.phase().borrow()));
    phase.unwrap().incarnation().unwrap()
}

async fn write(node: &ClusterNode, key: &str) {
    let action = Action::SetValue {
        key: ValueKey::from(key),
        value: b"x".to_vec(),
        expected: None,
    };
    node.cluster().propose(action).await.unwrap();
}

/// The socket is free again once the last task of the endpoint has ended.
async fn stopped(node: ClusterNode, place: &Place) {
    node.stop().await;
    drop(node);
    let free = async {
        while UdpSocket::bind(&place.address).is_err() || disks(&place.path()).is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, free).await.unwrap();
}

#[tokio::test]
async fn masters_and_media_nodes_find_each_other_in_any_order() {
    let places: Vec<Place> = (0..3).map(|_| Place::new()).collect();
    let join: Vec<&Place> = places[..2].iter().collect();
    let media = start(&places[2], &join, MEDIA).await.unwrap();
    let second = start(&places[1], &join, BOTH).await.unwrap();
    let first = start(&places[0], &join, BOTH).await.unwrap();
    for node in [&first, &second, &media] {
        registered(node).await;
    }
    write(&media, "from a learner").await;
    for node in [&first, &second, &media] {
        node.cluster().catch_up().await.unwrap();
        let states: Vec<NodeState> = node
            .cluster()
            .read(|state| state.nodes().map(|(_, node)| node.state).collect());
        assert_eq!(states, [NodeState::Active; 3]);
    }
    let media_id = media.id();
    let heard = async {
        while first.heartbeats().of(media_id).is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, heard).await.unwrap();
    // Everybody reaches everybody by id, though nobody listed the media node.
    assert_eq!(
        first.fabric().book().address(media.id()),
        Some(places[2].address.clone())
    );
}

#[tokio::test]
async fn a_node_that_restarts_is_the_same_in_another_life() {
    let place = Place::new();
    let node = start(&place, &[], BOTH).await.unwrap();
    let (id, first) = (node.id(), registered(&node).await);
    write(&node, "kept").await;
    stopped(node, &place).await;
    let node = start(&place, &[], BOTH).await.unwrap();
    assert_eq!(node.id(), id);
    assert!(registered(&node).await > first);
    let kept = |state: &consensus::state::State| state.value(&ValueKey::from("kept")).is_some();
    assert!(node.cluster().read(kept));
}

#[tokio::test]
async fn a_node_that_was_declared_dead_registers_again() {
    let place = Place::new();
    let node = start(&place, &[], BOTH).await.unwrap();
    let incarnation = registered(&node).await;
    let id = node.id();
    let dead = Action::DeclareDead {
        node: id,
        incarnation,
    };
    node.cluster().propose(dead).await.unwrap();
    let mut phase = node.phase();
    let again = phase.wait_for(|phase| phase.incarnation() > Some(incarnation));
    timeout(PATIENCE, again).await.unwrap().unwrap();
    let state = node.cluster().read(|state| state.node(id).unwrap().state);
    assert_eq!(state, NodeState::Active);
}

#[tokio::test]
async fn a_corrupt_log_is_given_up_only_if_others_have_a_copy() {
    let (one, two) = (Place::new(), Place::new());
    let first = start(&one, &[&one], BOTH).await.unwrap();
    let second = start(&two, &[&one], BOTH).await.unwrap();
    registered(&first).await;
    registered(&second).await;
    let id = second.id();
    stopped(second, &two).await;
    std::fs::write(two.path().join("log/identity"), b"nonsense").unwrap();
    let second = start(&two, &[&one], BOTH).await.unwrap();
    assert_ne!(second.id(), id);
    registered(&second).await;

    stopped(first, &one).await;
    std::fs::write(one.path().join("log/identity"), b"nonsense").unwrap();
    let alone = start(&one, &[&one], BOTH).await.err().unwrap();
    assert!(alone.to_string().contains("backup"), "{alone}");
}

#[tokio::test]
async fn a_removed_node_is_told_so() {
    let (one, two) = (Place::new(), Place::new());
    let first = start(&one, &[&one], BOTH).await.unwrap();
    let second = start(&two, &[&one], MEDIA).await.unwrap();
    registered(&second).await;
    let node = second.id();
    for action in [Action::DrainNode { node }, Action::RemoveNode { node }] {
        first.cluster().propose(action).await.unwrap();
    }
    let told = timeout(PATIENCE, second.failed()).await.unwrap();
    assert!(told.contains("removed"), "{told}");
}

#[tokio::test]
async fn a_program_that_is_older_than_the_log_is_told_to_be_upgraded() {
    let (one, two) = (Place::new(), Place::new());
    let first = start(&one, &[&one], BOTH).await.unwrap();
    let second = start(&two, &[&one], MEDIA).await.unwrap();
    registered(&second).await;
    let join = |version_max| Question::Join {
        node: second.id().0,
        address: two.address.clone(),
        forwarded: false,
        generation: None,
        version_max,
    };
    let (service, links) = (Service::Membership, second.links());
    let ask = |question| links.call(first.id(), service, encode(&question), PATIENCE);
    let Err(LinkError::Refused { reason, .. }) = ask(join(0)).await else {
        panic!("it cannot read what it would be sent");
    };
    assert!(reason.contains("upgrade"), "{reason}");
    ask(join(consensus::encoding::VERSION)).await.unwrap();
    // A program from before it was said reads the first.
    let node = second.id().0;
    let early = format!(
        r#"{{"join":{{"node":{node},"address":"{}"}}}}"#,
        two.address
    );
    let asked = links.call(first.id(), service, early.into(), PATIENCE);
    let Err(LinkError::Refused { reason, .. }) = asked.await else {
        panic!("all of them write the next by now");
    };
    assert!(reason.contains("version 1"), "{reason}");
}

#[tokio::test]
async fn a_removed_machine_that_still_has_the_secret_is_told_nothing_else() {
    let (one, two) = (Place::new(), Place::new());
    let first = start(&one, &[&one], BOTH).await.unwrap();
    let second = start(&two, &[&one], MEDIA).await.unwrap();
    registered(&second).await;
    let links = second.links();
    let ask = || links.call(first.id(), Service::Heartbeat, Bytes::new(), PATIENCE);
    let refusal = |told: Result<Bytes, LinkError>| match told {
        Err(LinkError::Refused { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    assert!(
        !refusal(ask().await).contains("removed"),
        "not a heartbeat, but heard"
    );
    let node = second.id();
    for action in [Action::DrainNode { node }, Action::RemoveNode { node }] {
        first.cluster().propose(action).await.unwrap();
    }
    // Its connection is broken first.
    let told = async {
        loop {
            match ask().await {
                Err(LinkError::Refused { reason, .. }) if reason.contains("removed") => return,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    timeout(PATIENCE, told).await.unwrap();
}

#[tokio::test]
async fn a_node_keeps_its_log_while_the_secret_is_exchanged() {
    const NEXT: &str = "the secret that all nodes shall have from now on";
    let place = Place::new();
    let rounds = ClusterSecret::exchanged(TOKEN, NEXT).unwrap();
    let mut id = None;
    for round in rounds {
        let node = start_with(&place, &[], BOTH, round).await.unwrap();
        registered(&node).await;
        assert_eq!(*id.get_or_insert_with(|| node.id()), node.id());
        stopped(node, &place).await;
    }
    let Err(refused) = start(&place, &[], BOTH).await else {
        panic!("the old secret opens nothing any more");
    };
    assert!(refused.to_string().contains("accepted_tokens"), "{refused}");
}

#[tokio::test]
async fn a_process_whose_directory_was_copied_ends_when_the_copy_registers() {
    let place = Place::new();
    let node = start(&place, &[], BOTH).await.unwrap();
    registered(&node).await;
    let (id, info) = (node.id(), node.settings().info.clone());
    let copy = Action::RegisterNode { node: id, info };
    node.cluster().propose(copy).await.unwrap();
    let told = timeout(PATIENCE, node.failed()).await.unwrap();
    assert!(told.contains("copied"), "{told}");
    assert_eq!(node.incarnation(), None, "it takes part no more");
}

#[tokio::test]
async fn a_process_that_ends_begins_no_other_life() {
    let place = Place::new();
    let node = start(&place, &[], BOTH).await.unwrap();
    let incarnation = registered(&node).await;
    assert_eq!(node.registered(), Some(incarnation));
    node.retire();
    let id = node.id();
    let dead = Action::DeclareDead {
        node: id,
        incarnation,
    };
    node.cluster().propose(dead).await.unwrap();
    let mut phase = node.phase();
    let stops = phase.wait_for(|phase| *phase == Phase::Registering("stops".into()));
    timeout(PATIENCE, stops).await.unwrap().unwrap();
    let state = node.cluster().read(|state| state.node(id).unwrap().state);
    assert_eq!(state, NodeState::Dead);
}

#[tokio::test]
async fn a_drain_outlives_its_process_and_a_stop_does_not() {
    let place = Place::new();
    let node = start(&place, &[], BOTH).await.unwrap();
    registered(&node).await;
    let id = node.id();
    let state = |node: &ClusterNode| {
        let cluster = node.cluster();
        cluster.read(|state| state.node(id).unwrap().state)
    };
    let drain = Action::DrainNode { node: id };
    node.cluster().propose(drain.clone()).await.unwrap();
    stopped(node, &place).await;
    let node = start(&place, &[], BOTH).await.unwrap();
    registered(&node).await;
    assert_eq!(state(&node), NodeState::Active, "nobody asked for it");

    let record = Terms::default().record(1, 0);
    for action in request(id, record, None) {
        node.cluster().propose(action).await.unwrap();
    }
    let incarnation = node.registered().unwrap();
    let dead = Action::DeclareDead {
        node: id,
        incarnation,
    };
    node.retire();
    node.cluster().propose(dead).await.unwrap();
    stopped(node, &place).await;
    let node = start(&place, &[], BOTH).await.unwrap();
    registered(&node).await;
    assert_eq!(state(&node), NodeState::Draining, "an operator did");
}
