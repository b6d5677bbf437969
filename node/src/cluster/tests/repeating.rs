//! A home that hears and does not answer, and dies: what its clients asked of it is asked of the
//! next one, by the gateway alone.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use protocol::proto::signal_request::Message as Request;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::cluster::journal;
use crate::cluster::links::{Duplex, Serve, Service};
use crate::cluster::session_wire::{ToGateway, ToHome, frames};

const SID: &str = "PA_alice";

/// A node whose rooms are played by the test: it knows everybody, and says what it is told to.
struct Played {
    heard: mpsc::UnboundedSender<ToHome>,
    says: Mutex<Option<mpsc::UnboundedReceiver<Message>>>,
}

/// The test's side of it. Dropping `says` breaks the stream.
struct Script {
    heard: mpsc::UnboundedReceiver<ToHome>,
    says: mpsc::UnboundedSender<Message>,
}

impl Serve for Played {
    fn call(&self, _: NodeId, _: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async { Ok(journal::testing::warm_reply()) })
    }

    fn stream(&self, _: NodeId, stream: Duplex) -> BoxFuture<'_, ()> {
        let Some(mut says) = self.says.lock().unwrap().take() else {
            return Box::pin(async {});
        };
        Box::pin(async move {
            let Duplex { mut send, recv } = stream;
            let mut frames = std::pin::pin!(frames(recv));
            loop {
                tokio::select! {
                    frame = frames.next() => {
                        let Some(Ok((kind, body))) = frame else { return };
                        let word = ToHome::decode(kind, &body, SessionId(1)).unwrap();
                        let _ = self.heard.send(word);
                    }
                    said = says.recv() => {
                        let Some(message) = said else { return };
                        let message = Some(message);
                        let response = Box::new(proto::SignalResponse { message });
                        let frame = ToGateway::Signal(response).encode();
                        send.write_all(&frame).await.unwrap();
                    }
                }
            }
        })
    }
}

impl Script {
    /// Sessions of `node` are the test's from now on, and what it could do for them.
    fn play(stage: &Stage, node: NodeId) -> Self {
        let (tell, heard) = mpsc::unbounded_channel();
        let (says, said) = mpsc::unbounded_channel();
        let played: Arc<dyn Serve> = Arc::new(Played {
            heard: tell,
            says: Mutex::new(Some(said)),
        });
        stage.links.replace(node, |others| {
            Arc::new(move |service| match service {
                Service::Session | Service::Journal => Some(Arc::clone(&played)),
                service => others(service),
            })
        });
        Self { heard, says }
    }

    async fn hears(&mut self) -> ToHome {
        let heard = tokio::time::timeout(PATIENCE, self.heard.recv()).await;
        heard.expect("something in time").expect("a gateway")
    }

    async fn hears_hello(&mut self) -> Attach {
        match self.hears().await {
            ToHome::Hello { attach, .. } => *attach,
            other => panic!("{other:?}"),
        }
    }

    async fn hears_signal(&mut self) -> Request {
        match self.hears().await {
            ToHome::Signal(message) => *message,
            other => panic!("{other:?}"),
        }
    }
}

fn add_track(cid: &str) -> proto::AddTrackRequest {
    proto::AddTrackRequest {
        cid: cid.into(),
        ..Default::default()
    }
}

#[actix_web::test]
async fn what_a_home_died_over_is_asked_of_the_next_one() {
    let mut stage = Stage::start().await;
    stage.prefer(B);
    let (mut home, mut next) = (Script::play(&stage, B), Script::play(&stage, C));
    let mut alice = stage.attach(A, "daily", "alice", AttachKind::Join);
    home.hears_hello().await;
    let participant = proto::ParticipantInfo {
        sid: SID.into(),
        ..Default::default()
    };
    let join = proto::JoinResponse {
        participant: Some(participant),
        ..Default::default()
    };
    home.says.send(Message::Join(join)).unwrap();
    assert!(matches!(alice.signal().await, Message::Join(_)));

    let offer = proto::SessionDescription {
        r#type: "offer".into(),
        sdp: "v=0".into(),
        id: 4,
        ..Default::default()
    };
    let mute = proto::MuteTrackRequest {
        sid: "TR_a".into(),
        muted: true,
    };
    alice.say(Request::AddTrack(add_track("answered")));
    alice.say(Request::AddTrack(add_track("waits")));
    alice.say(Request::Mute(mute.clone()));
    alice.say(Request::Offer(offer.clone()));
    for _ in 0..4 {
        home.hears_signal().await;
    }
    let published = proto::TrackPublishedResponse {
        cid: "answered".into(),
        track: None,
    };
    home.says.send(Message::TrackPublished(published)).unwrap();
    assert!(matches!(alice.signal().await, Message::TrackPublished(_)));

    let (_, epoch) = stage.home(A, "daily").unwrap();
    let action = Action::SetStandby {
        name: "daily".into(),
        epoch,
        standby: Some(C),
    };
    stage.leader().await.propose(action).await.unwrap();
    stage.nodes[&A].cluster.catch_up().await.unwrap();
    stage.kill(B);
    stage.declare_dead(B).await;

    let rebound = next.hears_hello().await;
    let expected = AttachKind::Rebind {
        participant_sid: SID.into(),
        missed: true,
    };
    assert_eq!(rebound.kind, expected);
    assert_eq!(rebound.add_tracks, [add_track("waits")]);
    assert_eq!(rebound.publisher_offer, Some(offer));
    assert_eq!(next.hears_signal().await, Request::Mute(mute));
    // Nobody told the client anything, and the next home answers.
    let answer = proto::SessionDescription {
        r#type: "answer".into(),
        id: 4,
        ..Default::default()
    };
    next.says.send(Message::Answer(answer.clone())).unwrap();
    assert_eq!(alice.signal().await, Message::Answer(answer));
}

/// Lets somebody in, hears nothing more, and ends the session in an orderly way when it is told to.
struct Deaf(Arc<tokio::sync::Notify>);

impl Serve for Deaf {
    fn call(&self, _: NodeId, _: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async { Err("nobody is known".to_owned()) })
    }

    fn stream(&self, _: NodeId, stream: Duplex) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let Duplex { mut send, recv } = stream;
            let mut frames = Box::pin(frames(recv));
            assert!(frames.next().await.is_some(), "hello");
            drop(frames);
            let message = Some(Message::Join(proto::JoinResponse::default()));
            let join = ToGateway::Signal(Box::new(proto::SignalResponse { message }));
            send.write_all(&join.encode()).await.unwrap();
            self.0.notified().await;
            send.write_all(&ToGateway::Close.encode()).await.unwrap();
        })
    }
}

/// It was replaced by another of its client: no reason to begin anew.
#[actix_web::test]
async fn the_last_word_of_a_home_counts_also_where_it_hears_no_more() {
    let mut stage = Stage::start().await;
    stage.prefer(B);
    let ends = Arc::new(tokio::sync::Notify::new());
    let deaf: Arc<dyn Serve> = Arc::new(Deaf(Arc::clone(&ends)));
    stage.links.replace(B, |others| {
        Arc::new(move |service| match service {
            Service::Session | Service::Journal => Some(Arc::clone(&deaf)),
            service => others(service),
        })
    });
    let mut alice = stage.attach(A, "daily", "alice", AttachKind::Join);
    assert!(matches!(alice.signal().await, Message::Join(_)));
    alice.say(Request::Ping(1));
    // Until the gateway has tried to pass it on.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    ends.notify_one();
    assert!(matches!(alice.hear().await, Ok(SessionMessage::Close)));
}
