//! The fabric over real sockets on loopback: who is let in, calls and streams both ways, a restart,
//! what is too large, and one's own id.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::UdpSocket;

use quinn::TokioRuntime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::cluster::limits::{MESSAGE_BYTES_MAX, STREAMS_AT_FIRST};
use crate::cluster::links::registry::Registry;
use crate::cluster::links::{DatagramLinks, Serve};

const TOKEN: &str = "an example of a secret that is long enough";
const PATIENCE: Duration = Duration::from_secs(10);

/// Says who asked, and gives streams back what they bring.
struct Parrot;

impl Serve for Parrot {
    fn call(&self, from: NodeId, request: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            match request.as_ref() {
                b"refuse" => Err("as you wish".into()),
                b"too much" => Ok(Bytes::from(vec![0; MESSAGE_BYTES_MAX + 1])),
                said => Ok([from.to_string().as_bytes(), b": ", said].concat().into()),
            }
        })
    }

    fn stream(&self, _: NodeId, mut stream: Duplex) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // A break of theirs is a break of ours.
            if tokio::io::copy(&mut stream.recv, &mut stream.send)
                .await
                .is_ok()
            {
                let _ = stream.send.shutdown().await;
            }
        })
    }
}

fn node(number: u64, token: &str, at: &str) -> Fabric {
    node_with(number, &ClusterSecret::new(token).unwrap(), at)
}

fn node_with(number: u64, secret: &ClusterSecret, at: &str) -> Fabric {
    let runtime = Arc::new(TokioRuntime);
    let socket = runtime.wrap_udp_socket(UdpSocket::bind(at).unwrap());
    let registry = Registry::default();
    registry.add(Service::Api, Arc::new(Parrot));
    registry.add(Service::Liveness, Arc::new(Parrot));
    Fabric::start(FabricParts {
        identity: Identity::new(secret, NodeId(number), &[number as u8; 32]).unwrap(),
        socket: socket.unwrap(),
        runtime,
        resolve: Arc::new(|name| Box::pin(async move { Err(io::Error::other(name)) })),
        services: registry.services(),
        seed: [number as u8; 32],
    })
    .unwrap()
}

fn address(fabric: &Fabric) -> String {
    fabric.local_address().unwrap().to_string()
}

async fn ask(from: &Fabric, to: u64, what: &'static str) -> Result<String, LinkError> {
    let asked = from.call(NodeId(to), Service::Api, what.into(), PATIENCE);
    let answer = asked.await?;
    Ok(String::from_utf8(answer.to_vec()).unwrap())
}

#[tokio::test]
async fn nodes_of_one_cluster_call_each_other_by_id() {
    let (one, two) = (node(1, TOKEN, "127.0.0.1:0"), node(2, TOKEN, "127.0.0.1:0"));
    assert_eq!(ask(&one, 2, "hi").await, Err(LinkError::Unknown(NodeId(2))));
    assert_eq!(one.meet(&address(&two)).await, Ok(NodeId(2)));
    assert_eq!(ask(&one, 2, "hi").await.unwrap(), "n1: hi");
    // The way back is the connection that is there.
    assert_eq!(ask(&two, 1, "hi").await.unwrap(), "n2: hi");
    assert_eq!(ask(&one, 1, "me").await.unwrap(), "n1: me");
    let refused = |reason: &str| LinkError::Refused {
        node: NodeId(2),
        reason: reason.into(),
    };
    assert_eq!(ask(&one, 2, "refuse").await, Err(refused("as you wish")));
    let agent = one.call(NodeId(2), Service::Agent, "hi".into(), PATIENCE);
    assert_eq!(agent.await, Err(refused("Agent is not offered")));
    assert_eq!(one.meet(&address(&one)).await, Ok(NodeId(1)));
}

#[tokio::test]
async fn many_who_need_one_connection_share_one_dial() {
    let (one, two) = (node(1, TOKEN, "127.0.0.1:0"), node(2, TOKEN, "127.0.0.1:0"));
    one.book().set(NodeId(2), &address(&two));
    let asked = (0..50).map(|_| ask(&one, 2, "hi"));
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!(answer.unwrap(), "n1: hi");
    }
    assert_eq!(one.slots().all.len(), 1);
}

#[tokio::test]
async fn streams_carry_both_ways_end_and_break() {
    let (one, two) = (node(1, TOKEN, "127.0.0.1:0"), node(2, TOKEN, "127.0.0.1:0"));
    one.book().set(NodeId(2), &address(&two));
    for to in [2, 1] {
        let mut stream = one.open(NodeId(to), Service::Api).await.unwrap();
        stream.send.write_all(b"there and back").await.unwrap();
        stream.send.shutdown().await.unwrap();
        let mut text = String::new();
        stream.recv.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "there and back");

        let mut stream = one.open(NodeId(to), Service::Api).await.unwrap();
        stream.send.write_all(b"half").await.unwrap();
        drop(stream.send);
        let broken = stream.recv.read_to_end(&mut Vec::new()).await;
        assert!(broken.is_err(), "{to}: {broken:?}");
    }
    let refused = one.open(NodeId(2), Service::Session).await.err().unwrap();
    assert!(matches!(refused, LinkError::Refused { .. }), "{refused}");
}

#[tokio::test]
async fn whoever_uses_its_streams_is_allowed_more() {
    let (one, two) = (node(1, TOKEN, "127.0.0.1:0"), node(2, TOKEN, "127.0.0.1:0"));
    one.book().set(NodeId(2), &address(&two));
    let mut open = Vec::new();
    for number in 0..STREAMS_AT_FIRST * 3 {
        let stream = timeout(PATIENCE, one.open(NodeId(2), Service::Api)).await;
        open.push(
            stream
                .unwrap_or_else(|_| panic!("stream {number}"))
                .unwrap(),
        );
    }
    assert_eq!(ask(&one, 2, "hi").await.unwrap(), "n1: hi");
}

#[tokio::test]
async fn a_node_with_another_token_is_refused_and_counted() {
    let ours = node(1, TOKEN, "127.0.0.1:0");
    let theirs = node(2, &TOKEN.replace("an", "no"), "127.0.0.1:0");
    let refused = theirs.meet(&address(&ours)).await.unwrap_err();
    assert!(refused.contains("certificate"), "{refused}");
    let counted = async {
        while ours.refused() == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, counted).await.unwrap();
    // And the other way round: an address that belongs to somebody else now.
    ours.book().set(NodeId(2), &address(&theirs));
    let error = ask(&ours, 2, "hi").await.unwrap_err();
    assert!(matches!(error, LinkError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn another_node_at_a_known_address_is_not_taken_for_the_one_that_was_there() {
    let (one, three) = (node(1, TOKEN, "127.0.0.1:0"), node(3, TOKEN, "127.0.0.1:0"));
    one.book().set(NodeId(2), &address(&three));
    let error = ask(&one, 2, "hi").await.unwrap_err();
    assert!(matches!(error, LinkError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_peer_that_restarts_is_reached_again_at_once() {
    let one = node(1, TOKEN, "127.0.0.1:0");
    let two = node(2, TOKEN, "127.0.0.1:0");
    let at = address(&two);
    one.book().set(NodeId(2), &at);
    let mut stream = one.open(NodeId(2), Service::Api).await.unwrap();
    two.stop(PATIENCE).await;
    assert!(stream.recv.read_u8().await.is_err());
    drop(two);
    // The socket is free once the endpoint's task has ended.
    let again = async {
        loop {
            match UdpSocket::bind(&at) {
                Ok(socket) => break drop(socket),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    timeout(PATIENCE, again).await.unwrap();
    let _two = node(2, TOKEN, &at);
    assert_eq!(ask(&one, 2, "hi").await.unwrap(), "n1: hi");
}

#[tokio::test]
async fn what_is_too_large_is_refused_on_either_side() {
    let (one, two) = (node(1, TOKEN, "127.0.0.1:0"), node(2, TOKEN, "127.0.0.1:0"));
    one.book().set(NodeId(2), &address(&two));
    let much = Bytes::from(vec![0; MESSAGE_BYTES_MAX + 1]);
    let error = one.call(NodeId(2), Service::Api, much, PATIENCE).await;
    assert!(matches!(error, Err(LinkError::Refused { .. })));
    let error = ask(&one, 2, "too much").await;
    assert!(matches!(error, Err(LinkError::Refused { .. })), "{error:?}");
    assert_eq!(ask(&one, 2, "hi").await.unwrap(), "n1: hi");
}

#[tokio::test]
async fn who_is_found_dead_is_waited_for_no_longer() {
    let (one, two) = (node(1, TOKEN, "127.0.0.1:0"), node(2, TOKEN, "127.0.0.1:0"));
    one.book().set(NodeId(2), &address(&two));
    let mut stream = one.open(NodeId(2), Service::Api).await.unwrap();
    one.hang_up(NodeId(2));
    assert!(stream.recv.read_u8().await.is_err());
    assert_eq!(ask(&one, 2, "hi").await.unwrap(), "n1: hi");
}

#[tokio::test]
async fn whether_a_node_lives_is_asked_on_a_connection_of_its_own() {
    let (one, two) = (node(1, TOKEN, "127.0.0.1:0"), node(2, TOKEN, "127.0.0.1:0"));
    one.book().set(NodeId(2), &address(&two));
    ask(&one, 2, "hi").await.unwrap();
    let asked = one.call(NodeId(2), Service::Liveness, "alive?".into(), PATIENCE);
    assert_eq!(asked.await.unwrap(), "n1: alive?");
    let planes: Vec<Plane> = one
        .slots()
        .by_peer
        .keys()
        .map(|(_, plane)| *plane)
        .collect();
    assert_eq!(planes, [Plane::Rpc, Plane::Live]);
}

#[tokio::test]
async fn a_secret_is_exchanged_without_a_moment_at_which_nodes_do_not_meet() {
    const NEXT: &str = "the secret that all nodes shall have from now on";
    let rounds = ClusterSecret::exchanged(TOKEN, NEXT).unwrap();
    let at = "127.0.0.1:0";
    for (number, pair) in (1..).step_by(2).zip(rounds.windows(2)) {
        let before = node_with(number, &pair[0], at);
        let after = node_with(number + 1, &pair[1], at);
        let met = before.meet(&address(&after)).await;
        assert_eq!(met, Ok(NodeId(number + 1)));
        // Those that know each other by id, too.
        let (one, two) = (node_with(91, &pair[0], at), node_with(92, &pair[1], at));
        two.book().set(NodeId(91), &address(&one));
        assert_eq!(ask(&two, 91, "hi").await.unwrap(), "n92: hi");
    }
    // Whoever was left out of a round is out.
    let (old, new) = (node_with(93, &rounds[0], at), node_with(94, &rounds[2], at));
    assert!(old.meet(&address(&new)).await.is_err());
    assert!(new.meet(&address(&old)).await.is_err());
}

#[tokio::test]
async fn strangers_who_knock_too_often_are_ignored_and_nodes_still_come_in() {
    const OTHER: &str = "the secret of another cluster, as long as it must be";
    let target = node(1, TOKEN, "127.0.0.1:0");
    let strangers: Vec<Fabric> = (2..10).map(|n| node(n, OTHER, "127.0.0.1:0")).collect();
    let attempts = u64::from(HANDSHAKES_BURST) * 2;
    let at = address(&target);
    let knocks = (0..attempts).map(|n| strangers[n as usize % strangers.len()].meet(&at));
    let met = futures_util::future::join_all(knocks).await;
    assert!(met.iter().all(Result::is_err));
    assert!(
        target.refused() < attempts,
        "{} were heard out",
        target.refused()
    );
    let friend = node(20, TOKEN, "127.0.0.1:0");
    let comes = async { while friend.meet(&at).await != Ok(NodeId(1)) {} };
    timeout(PATIENCE, comes).await.unwrap();
}

/// Keeps what arrives.
#[derive(Default)]
struct Basket(Mutex<Vec<(NodeId, Bytes)>>);

impl TakeDatagrams for Basket {
    fn take(&self, from: NodeId, datagrams: &[Bytes]) {
        let mut kept = self.0.lock().unwrap();
        kept.extend(datagrams.iter().map(|datagram| (from, datagram.clone())));
    }
}

async fn arrive(basket: &Basket, count: usize) {
    let arrived = async {
        while basket.0.lock().unwrap().len() < count {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, arrived).await.unwrap();
}

#[tokio::test]
async fn datagrams_arrive_from_whom_the_certificate_says_and_as_large_as_a_packet_needs() {
    let (one, two) = (node(1, TOKEN, "127.0.0.1:0"), node(2, TOKEN, "127.0.0.1:0"));
    let basket = Arc::new(Basket::default());
    two.take_datagrams(basket.clone());
    one.book().set(NodeId(2), &address(&two));
    let link = one.datagrams(NodeId(2)).await.unwrap();
    assert!(link.bytes_max() >= 1_300, "{}", link.bytes_max());
    let large = Bytes::from(vec![3; 1_450]);
    let sent = [
        Bytes::from(vec![1; link.bytes_max()]),
        Bytes::from_static(b"two"),
    ];
    link.send_large(large.clone()).await.unwrap();
    arrive(&basket, 1).await;
    assert_eq!(basket.0.lock().unwrap().pop(), Some((NodeId(1), large)));
    for datagram in &sent {
        link.send_when_possible(datagram.clone()).await.unwrap();
    }
    arrive(&basket, 2).await;
    let expected = sent.map(|datagram| (NodeId(1), datagram));
    assert_eq!(*basket.0.lock().unwrap(), expected);
    // Calls are of another connection, which is dialled for itself.
    assert_eq!(ask(&one, 2, "hi").await.unwrap(), "n1: hi");
    two.stop(PATIENCE).await;
    timeout(PATIENCE, link.broken()).await.unwrap();
    assert!(link.send(Bytes::from_static(b"late")).is_err());
}
