//! `/agent`: the WebSocket of one worker. Turns frames into messages and back; text frames are
//! protojson, and the last kind the worker sent is the kind it gets. Decides nothing about jobs.

use std::time::Instant;

use actix::Addr;
use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, Closed, Session};
use prost::Message;
use protocol::proto::{ServerMessage, WorkerMessage, server_message};
use tokio::sync::mpsc;

use super::Agents;
use super::jobs::{Connection, Input};
use super::limits::{MESSAGES_WAITING_MAX, PING_INTERVAL, SILENCE_MAX};
use super::worker_actor::{Connected, Handle, WorkerActor};
use crate::auth::{Caller, of_request, refusal};

pub(super) fn configure(config: &mut web::ServiceConfig, agents: Agents) {
    config
        .app_data(web::Data::new(agents))
        .route("/agent", web::route().to(connect));
}

async fn connect(
    request: HttpRequest,
    body: web::Payload,
    agents: web::Data<Agents>,
) -> HttpResponse {
    let caller = match of_request(&agents.keys, &request) {
        Ok(claims) => Caller(claims),
        Err(error) => return refusal(StatusCode::UNAUTHORIZED, error.to_string()),
    };
    let upgrade = request.headers().get(header::UPGRADE);
    if !upgrade.is_some_and(|kind| kind.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        return HttpResponse::NotFound().finish();
    }
    if let Err(error) = caller.may_work_as_agent() {
        return refusal(StatusCode::UNAUTHORIZED, error.to_string());
    }
    let api_key = caller.0.map(|claims| claims.issuer).unwrap_or_default();
    let (response, session, stream) = match actix_ws::handle(&request, body) {
        Ok(upgraded) => upgraded,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let stream = stream
        .max_frame_size(agents.message_bytes_max)
        .aggregate_continuations();
    let stream = stream.max_continuation_size(agents.message_bytes_max);
    let connection = agents.new_connection();
    let (sender, receiver) = mpsc::channel(MESSAGES_WAITING_MAX);
    agents.actor.do_send(Connected {
        connection,
        api_key,
        sender,
    });
    let socket = Socket {
        connection,
        actor: agents.actor.clone(),
        session,
        as_json: false,
        receiver,
    };
    actix_web::rt::spawn(socket.run(stream));
    response
}

struct Socket {
    connection: Connection,
    actor: Addr<WorkerActor>,
    session: Session,
    /// The last frame of the worker was text.
    as_json: bool,
    receiver: mpsc::Receiver<server_message::Message>,
}

impl Socket {
    async fn run(mut self, mut stream: AggregatedMessageStream) {
        self.exchange(&mut stream).await;
        self.actor.do_send(Handle(Input::Closed(self.connection)));
        // The peer may be gone already.
        let _ = self.session.close(None).await;
    }

    /// Until either side closes, errs or falls silent.
    async fn exchange(&mut self, stream: &mut AggregatedMessageStream) {
        let mut ping = tokio::time::interval(PING_INTERVAL);
        let mut heard = Instant::now();
        loop {
            let sent = tokio::select! {
                frame = stream.recv() => {
                    heard = Instant::now();
                    match frame {
                        Some(Ok(frame)) => self.received(frame).await,
                        Some(Err(_)) | None => Err(Closed),
                    }
                }
                message = self.receiver.recv() => match message {
                    Some(message) => self.send(message).await,
                    None => Err(Closed),
                },
                _ = ping.tick() => {
                    if heard.elapsed() > SILENCE_MAX {
                        Err(Closed)
                    } else {
                        self.session.ping(b"").await
                    }
                }
            };
            if sent.is_err() {
                return;
            }
        }
    }

    async fn received(&mut self, frame: AggregatedMessage) -> Result<(), Closed> {
        let message = match frame {
            AggregatedMessage::Binary(bytes) => {
                self.as_json = false;
                WorkerMessage::decode(bytes).map_err(|_| Closed)?
            }
            AggregatedMessage::Text(text) => {
                self.as_json = true;
                serde_json::from_str(&text).map_err(|_| Closed)?
            }
            AggregatedMessage::Ping(bytes) => return self.session.pong(&bytes).await,
            AggregatedMessage::Pong(_) => return Ok(()),
            AggregatedMessage::Close(_) => return Err(Closed),
        };
        // Messages of a newer protocol have no variant here: they are nothing to us.
        if let Some(message) = message.message {
            let connection = self.connection;
            let input = Input::Message {
                connection,
                message,
            };
            // The next frame is read once this one was handled: a flood slows down its sender.
            self.actor.send(Handle(input)).await.map_err(|_| Closed)?;
        }
        Ok(())
    }

    async fn send(&mut self, message: server_message::Message) -> Result<(), Closed> {
        let message = ServerMessage {
            message: Some(message),
        };
        if self.as_json {
            let text = serde_json::to_string(&message).map_err(|_| Closed)?;
            self.session.text(text).await
        } else {
            self.session.binary(message.encode_to_vec()).await
        }
    }
}
