//! The WebSocket gateway: from an HTTP request to a participant's session and back. Parses at the
//! edge; `rooms` decides who gets in. `session` is the core, `participant_actor` its shell.

mod client_info;
mod frames;
pub mod hostile;
mod join_params;
mod join_request;
mod limits;
mod participant_actor;
mod session;
mod validate;
mod websocket;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix::Recipient;
use actix_web::{HttpRequest, web};
use futures_util::future::LocalBoxFuture;
use protocol::grants::Claims;
use protocol::proto::signal_request;
use protocol::token::Keys;

use crate::config::Config;
use crate::net::http::Routes;
use crate::room::contract::{Attach, AttachKind, SessionId, ToSession};
use crate::rooms::Rooms;

pub(crate) use validate::{Refusal, joining};

/// LiveKit's `types.CurrentProtocol`.
const ONE_SHOT_PROTOCOL: i32 = 17;

/// The registry of rooms as the gateway sees it: `rooms::Rooms` in the program, a scripted one in
/// the gateway's tests. Nothing here waits but `exists`.
pub trait Lobby: Send + Sync {
    /// Lets a client in, or back in. The first message, or the refusal, goes to `recipient`.
    fn attach(&self, attach: Attach, recipient: Recipient<ToSession>);
    /// What the client of a session said.
    fn signal(&self, room: &str, session: SessionId, message: signal_request::Message);
    /// The WebSocket is gone, for whatever reason.
    fn session_closed(&self, room: &str, session: SessionId);
    fn exists<'a>(&'a self, room: &'a str) -> LocalBoxFuture<'a, bool>;
}

impl Lobby for Rooms {
    fn attach(&self, attach: Attach, recipient: Recipient<ToSession>) {
        self.attach(attach, recipient);
    }

    fn signal(&self, room: &str, session: SessionId, message: signal_request::Message) {
        self.signal(room, session, message);
    }

    fn session_closed(&self, room: &str, session: SessionId) {
        self.session_closed(room, session);
    }

    fn exists<'a>(&'a self, room: &'a str) -> LocalBoxFuture<'a, bool> {
        let named = [room.to_owned()];
        Box::pin(async move { !self.list(&named).await.is_empty() })
    }
}

/// What the gateway obeys. Names are those of `livekit.yaml`; 0 = no limit.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    pub keys: Keys,
    /// `room.auto_create`
    pub auto_create: bool,
    /// `limit.max_room_name_length`
    pub max_room_name_length: usize,
    /// `limit.max_participant_identity_length`
    pub max_participant_identity_length: usize,
    /// `limit.signal_message_size_limit`, bytes; 0 = LiveKit's default, as nothing is unlimited.
    pub signal_message_bytes_max: usize,
}

impl GatewaySettings {
    pub fn new(config: &Config, keys: Keys) -> Self {
        Self {
            keys,
            auto_create: config.room.auto_create,
            max_room_name_length: config.limit.max_room_name_length,
            max_participant_identity_length: config.limit.max_participant_identity_length,
            signal_message_bytes_max: config.limit.signal_message_size_limit,
        }
    }
}

/// Everything the paths below `/rtc` share.
pub struct Gateway {
    settings: GatewaySettings,
    rooms: Arc<dyn Lobby>,
    next_session: AtomicU64,
}

impl Gateway {
    pub fn new(settings: GatewaySettings, rooms: Arc<dyn Lobby>) -> Self {
        Self {
            settings,
            rooms,
            next_session: AtomicU64::new(1),
        }
    }

    pub(crate) fn lobby(&self) -> Arc<dyn Lobby> {
        self.rooms.clone()
    }

    /// A client whose signalling is a single HTTP request (WHIP): judged like a join, but it cannot
    /// be asked anything later.
    pub(crate) fn admit_one_shot(
        &self,
        request: &HttpRequest,
        claims: Option<Claims>,
    ) -> Result<Attach, Refusal> {
        let mut attach = websocket::admit_with(request, self, claims)?;
        attach.kind = AttachKind::Join;
        attach.single_peer_connection = true;
        attach.auto_subscribe = false;
        attach.auto_subscribe_data_track = false;
        attach.disable_ice_lite = true;
        attach.one_shot = true;
        if attach.client.protocol == 0 {
            // Encoders say nothing about themselves; what they are told nobody reads.
            attach.client.protocol = ONE_SHOT_PROTOCOL;
        }
        Ok(attach)
    }

    fn new_session(&self) -> SessionId {
        SessionId(self.next_session.fetch_add(1, Ordering::Relaxed))
    }
}

/// `/rtc`, `/rtc/v1` and their `validate`, for `net::http::serve`.
pub fn routes(gateway: Arc<Gateway>) -> Routes {
    Arc::new(move |config| websocket::configure(config, web::Data::from(gateway.clone())))
}

#[cfg(test)]
mod tests;
