//! Lifelines over real sockets: kernels close and refuse them; strangers get none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus::ids::NodeId;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::cluster::limits::LIFELINE_STRANGERS_MAX;
use crate::cluster::links::testing::Hub;
use crate::cluster::links::{Duplex, Serve, Service, Services};

const PATIENCE: Duration = Duration::from_secs(20);
const ME: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);

/// Gives tickets as the liveness service does.
struct Giver(Tickets);

impl Serve for Giver {
    fn call(&self, from: NodeId, _: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move { Ok(self.0.give(from).unwrap().encode().into()) })
    }

    fn stream(&self, _: NodeId, _: Duplex) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

fn giving(tickets: &Tickets) -> Services {
    let giver: Arc<dyn Serve> = Arc::new(Giver(tickets.clone()));
    Arc::new(move |service| (service == Service::Liveness).then(|| giver.clone()))
}

fn nothing() -> Services {
    Arc::new(|_| None)
}

async fn holder(tickets: &Tickets) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListen::bind("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let address = listener.local_address().unwrap();
    let holder = Holder::new(tickets.clone());
    (address, tokio::spawn(holder.run(listener)))
}

fn keeper(hub: &Hub, address: SocketAddr) -> mpsc::UnboundedReceiver<News> {
    let keeper = Keeper {
        me: ME,
        node: OTHER,
        links: hub.join(ME, nothing()),
        dial: Arc::new(TcpDial),
    };
    let (tell, news) = mpsc::unbounded_channel();
    let address = move || Some(address.to_string());
    tokio::spawn(keeper.run(address, move |news| {
        let _ = tell.send(news);
    }));
    news
}

async fn next(news: &mut mpsc::UnboundedReceiver<News>) -> News {
    timeout(PATIENCE, news.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn the_kernel_closes_and_refuses_what_a_dead_process_held() {
    let (hub, tickets) = (Hub::new(), Tickets::new([1; 32]));
    hub.join(OTHER, giving(&tickets));
    let (address, process) = holder(&tickets).await;
    let mut news = keeper(&hub, address);
    assert_eq!(next(&mut news).await, News::Opened);
    process.abort();
    assert_eq!(next(&mut news).await, News::Closed);
    assert_eq!(next(&mut news).await, News::Refused);
}

#[tokio::test]
async fn an_impostor_at_the_address_of_a_node_is_not_taken_for_it() {
    let (hub, tickets) = (Hub::new(), Tickets::new([1; 32]));
    hub.join(OTHER, giving(&tickets));
    let impostor = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut news = keeper(&hub, impostor.local_addr().unwrap());
    let (mut stream, _) = impostor.accept().await.unwrap();
    stream.read_exact(&mut [0; 24]).await.unwrap();
    stream.write_all(&[7; SECRET_BYTES]).await.unwrap();
    // It is tried again, and was never told as open.
    impostor.accept().await.unwrap();
    assert!(news.try_recv().is_err());
}

async fn show(address: SocketAddr, node: NodeId, shown: &[u8]) -> (TcpStream, bool) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_u64(node.0).await.unwrap();
    stream.write_all(shown).await.unwrap();
    let mut answer = [0; SECRET_BYTES];
    let read = timeout(PATIENCE, stream.read_exact(&mut answer)).await;
    let taken = read.unwrap().is_ok();
    (stream, taken)
}

#[tokio::test]
async fn a_ticket_is_good_once_and_for_its_owner() {
    let tickets = Tickets::new([1; 32]);
    let (address, _process) = holder(&tickets).await;
    let ticket = tickets.give(ME).unwrap();
    assert!(!show(address, OTHER, &ticket.shown).await.1);
    assert!(!show(address, ME, &ticket.answer).await.1);
    let (mut held, taken) = show(address, ME, &ticket.shown).await;
    assert!(taken);
    assert!(!show(address, ME, &ticket.shown).await.1, "used");
    // A stranger cannot end it; its owner's next one does.
    let ticket = tickets.give(ME).unwrap();
    let (_newer, taken) = show(address, ME, &ticket.shown).await;
    assert!(taken);
    let end = timeout(PATIENCE, held.read_u8()).await.unwrap();
    assert!(end.is_err());
}

#[tokio::test]
async fn strangers_that_say_nothing_keep_nobody_out() {
    let tickets = Tickets::new([1; 32]);
    let (address, _process) = holder(&tickets).await;
    let mut strangers = Vec::new();
    for _ in 0..LIFELINE_STRANGERS_MAX + 50 {
        strangers.push(TcpStream::connect(address).await.unwrap());
    }
    let ticket = tickets.give(ME).unwrap();
    let (_held, taken) = show(address, ME, &ticket.shown).await;
    assert!(taken);
}
