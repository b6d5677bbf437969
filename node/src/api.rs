//! The server API: LiveKit's Twirp services under `/twirp`. `twirp` is HTTP, the files named after
//! services check grants and ask the rooms. Composed by `run`; keeps no state of its own.

mod agent_dispatch;
mod egress;
mod errors;
mod ingress;
pub mod limits;
mod room_service;
mod sip;
mod twirp;
pub mod whip;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use actix_web::web;
use futures_util::future::BoxFuture;
use prost::Message;
use protocol::token::Keys;
use protocol::twirp::{Encoding, Error, Method, malformed};

pub(crate) use self::errors::{is_elsewhere, room as room_error};
use crate::auth::Caller;
use crate::rooms::Rooms;

/// What the services work with.
#[derive(Clone)]
pub struct Api {
    rooms: Rooms,
    keys: Keys,
    body_bytes_max: usize,
    forward: Option<Arc<dyn Forward>>,
}

pub(crate) type Answer = Result<Vec<u8>, Error>;

/// Answers calls for all nodes of a cluster, with the help of `Api::call_here` on the right ones.
pub trait Forward: Send + Sync {
    fn call<'a>(
        &'a self,
        caller: &'a Caller,
        method: &'a Method,
        request: &'a [u8],
    ) -> BoxFuture<'a, Answer>;
}

impl Api {
    /// `body_bytes_max` is `limit.max_api_request_body_size`; 0 = the default, as nothing is
    /// unlimited.
    pub fn new(rooms: Rooms, keys: Keys, body_bytes_max: usize) -> Self {
        let body_bytes_max = match body_bytes_max {
            0 => limits::BODY_BYTES_DEFAULT,
            bytes => bytes,
        };
        Self {
            rooms,
            keys,
            body_bytes_max,
            forward: None,
        }
    }

    /// The same, with rooms of other nodes.
    pub fn forwarding(self, forward: Arc<dyn Forward>) -> Self {
        Self {
            forward: Some(forward),
            ..self
        }
    }

    /// The routes of the server API.
    pub fn configure(&self, config: &mut web::ServiceConfig) {
        twirp::configure(config, self.clone());
    }

    /// Calls one RPC; request and answer are encoded protobuf.
    async fn call(&self, caller: &Caller, method: &Method, request: &[u8]) -> Answer {
        match &self.forward {
            Some(forward) => forward.call(caller, method, request).await,
            None => self.call_here(caller, method, request).await,
        }
    }

    /// The same, knowing no rooms but this node's.
    pub(crate) async fn call_here(
        &self,
        caller: &Caller,
        method: &Method,
        request: &[u8],
    ) -> Answer {
        match method.service().as_str() {
            "RoomService" => room_service::call(self, caller, method.name(), request).await,
            "AgentDispatchService" => {
                agent_dispatch::call(self, caller, method.name(), request).await
            }
            "Egress" => egress::call(self, caller, method.name(), request).await,
            "Ingress" => ingress::call(caller),
            _ => sip::call(caller, method.name(), request),
        }
    }
}

fn decode<M: Message + Default>(request: &[u8]) -> Result<M, Error> {
    M::decode(request).map_err(|_| malformed(Encoding::Protobuf))
}

fn encode(answer: &impl Message) -> Answer {
    Ok(answer.encode_to_vec())
}
