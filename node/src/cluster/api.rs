//! The server API over all nodes: a call about a room is answered by the room's home, a list by all
//! of them, and a new room is placed first. Every node takes every call; what comes from another
//! node is answered here or not at all.

mod lists;
mod target;

use bytes::Bytes;
use consensus::command::Action;
use consensus::ids::{Epoch, NodeId, RoomName};
use futures_util::future::BoxFuture;
use prost::Message;
use protocol::proto;
use protocol::twirp::{Code, Error, Method};
use tokio::time::{Duration, Instant};

use super::directory::{Directory, Found, Place};
use super::hosting::Homes;
use super::limits::{API_CALL_TIMEOUT, API_LAST_WORD, API_PATIENCE, API_RPC_TIMEOUT, ATTACH_RETRY};
use super::links::{Duplex, LinkError, Serve, Service};
use super::wire::api_reply::Answer as Told;
use super::wire::{ApiFailure, ApiReply, ApiRequest};
use crate::api::{Answer, Api, Forward, is_elsewhere, room_error};
use crate::auth::Caller;
use crate::room::contract::{RoomCall, RoomError, RoomReply};
use crate::rooms::Rooms;
use target::{Target, target};

/// The service of calls that are not LiveKit's.
const OPERATOR: &str = "Skein";
const INSPECT: &str = "InspectRoom";
const MOVES: &str = "RoomMoves";
const DELETE: &str = "DeleteRoom";

pub struct ClusterApi {
    /// What this node answers itself.
    here: Api,
    rooms: Rooms,
    directory: Directory,
    homes: Homes,
    /// `room.auto_create`
    auto_create: bool,
}

/// What one try came to.
enum Tried {
    Answered(Answer),
    /// The room is not there: nothing happened.
    NotHere,
    /// It may have happened.
    Lost(LinkError),
}

/// Where a call about a room goes.
enum Goal {
    Place(Place),
    /// Its home died with nobody standing by, and nobody has come back yet.
    Orphan(Epoch),
    Nowhere,
}

impl ClusterApi {
    pub fn new(
        here: Api,
        rooms: Rooms,
        directory: Directory,
        homes: Homes,
        auto_create: bool,
    ) -> Self {
        Self {
            here,
            rooms,
            directory,
            homes,
            auto_create,
        }
    }

    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Everything an operator wants to see of a room, wherever it is.
    pub async fn inspect(&self, caller: &Caller, room: &str) -> Result<serde_json::Value, Error> {
        self.ask_operator(caller, INSPECT, room).await
    }

    /// How it went from node to node, for whoever may join it.
    pub async fn moves(&self, caller: &Caller, room: &str) -> Result<serde_json::Value, Error> {
        self.ask_operator(caller, MOVES, room).await
    }

    async fn ask_operator(
        &self,
        caller: &Caller,
        method: &str,
        room: &str,
    ) -> Result<serde_json::Value, Error> {
        let target = Target::Room {
            name: room.to_owned(),
            creates: false,
            repeatable: true,
        };
        let answer = self
            .carry(caller, OPERATOR, method, room.as_bytes(), target)
            .await?;
        serde_json::from_slice(&answer)
            .map_err(|error| Error::new(Code::Internal, error.to_string()))
    }

    async fn carry(
        &self,
        caller: &Caller,
        service: &str,
        method: &str,
        body: &[u8],
        target: Target,
    ) -> Answer {
        let Target::Room {
            name,
            creates,
            repeatable,
        } = target
        else {
            return self.answer(caller, service, method, body).await;
        };
        // Who may nothing here is told so without asking the cluster, above all to place a room;
        // one without a name is refused as it always was.
        let (administers, makes) = (
            caller.may_administer(&name).is_ok(),
            caller.may_create_rooms().is_ok(),
        );
        let may = match (creates, method) {
            (true, "CreateRoom") => makes,
            (true, _) => administers,
            (false, MOVES) => caller.may_know_of(&name).is_ok(),
            (false, _) => administers || makes,
        };
        if !may || name.is_empty() {
            return self.answer(caller, service, method, body).await;
        }
        let until = Instant::now() + API_PATIENCE;
        let mut request = ApiRequest {
            claims_json: claims_of(caller),
            service: service.to_owned(),
            method: method.to_owned(),
            body: body.to_vec(),
            room: name,
            epoch: 0,
        };
        loop {
            let unreachable = match self.place(&request.room, creates).await? {
                Goal::Nowhere => return self.answer(caller, service, method, body).await,
                Goal::Orphan(epoch) if method == DELETE && makes => {
                    return self.close_orphan(&request.room, epoch).await;
                }
                Goal::Orphan(_) => "the room's node died".to_owned(),
                Goal::Place(place) => {
                    request.epoch = place.epoch.0;
                    match self.ask(&place, caller, &request).await {
                        Tried::Answered(answer) => return answer,
                        Tried::NotHere => "the room moves".to_owned(),
                        Tried::Lost(error) if repeatable => error.to_string(),
                        Tried::Lost(error) => return Err(unavailable(&error.to_string())),
                    }
                }
            };
            if Instant::now() >= until {
                return Err(unavailable(&unreachable));
            }
            tokio::time::sleep(ATTACH_RETRY).await;
            self.directory.refresh().await;
        }
    }

    /// Its people may be on their way back: they find that it is over.
    async fn close_orphan(&self, room: &str, epoch: Epoch) -> Answer {
        let name = room.into();
        let close = Action::CloseRoom { name, epoch };
        match self.directory.cluster().propose(close).await {
            Ok(_) => Ok(proto::DeleteRoomResponse {}.encode_to_vec()),
            Err(error) => Err(unavailable(&error.to_string())),
        }
    }

    async fn place(&self, room: &str, creates: bool) -> Result<Goal, Error> {
        let failed = |error: super::directory::PlaceError| unavailable(&error.to_string());
        let found = self.directory.find(room);
        let found = match found {
            Found::Absent if !creates => self.directory.find_surely(room).await.map_err(failed)?,
            found => found,
        };
        match found {
            Found::Placed(place) => Ok(Goal::Place(place)),
            _ if creates => {
                let place = self.directory.place(room).await;
                Ok(Goal::Place(place.map_err(failed)?))
            }
            Found::Absent => Ok(Goal::Nowhere),
            Found::Orphaned => {
                let name = RoomName::from(room);
                let cluster = self.directory.cluster();
                let epoch = cluster.read(|state| state.room(&name).map(|room| room.epoch));
                Ok(epoch.map_or(Goal::Nowhere, Goal::Orphan))
            }
        }
    }

    async fn ask(&self, place: &Place, caller: &Caller, request: &ApiRequest) -> Tried {
        if place.home == self.directory.node() {
            let (room, epoch) = (&request.room, place.epoch);
            if self.homes.enter(room, epoch).await.is_err() {
                return Tried::NotHere;
            }
            let answer = self.answer_for_room(caller, request).await;
            return match answer {
                Err(error) if is_elsewhere(&error) => Tried::NotHere,
                answer => Tried::Answered(answer),
            };
        }
        let within = match request.method.as_str() {
            "PerformRpc" => API_RPC_TIMEOUT,
            _ => API_CALL_TIMEOUT,
        };
        let moved = || LinkError::Lost {
            node: place.home,
            reason: "the room moved meanwhile".into(),
        };
        tokio::select! {
            tried = self.ask_node(place.home, request, within) => tried,
            // A dead node may be silent for longer than a caller should wait.
            () = self.gone(&request.room, place) => Tried::Lost(moved()),
        }
    }

    async fn gone(&self, room: &str, place: &Place) {
        self.directory.until_moved(room, place).await;
        // The answer that closed the room is on its way, and counts.
        tokio::time::sleep(API_LAST_WORD).await;
    }

    async fn ask_node(&self, node: NodeId, request: &ApiRequest, within: Duration) -> Tried {
        let bytes = Bytes::from(request.encode_to_vec());
        let links = self.directory.links();
        let reply = match links.call(node, Service::Api, bytes, within).await {
            Ok(reply) => reply,
            Err(error @ LinkError::Lost { .. }) => return Tried::Lost(error),
            Err(error) => {
                tracing::debug!(%error, "a call of the API did not arrive");
                return Tried::NotHere;
            }
        };
        match ApiReply::decode(reply).ok().and_then(|reply| reply.answer) {
            Some(Told::Done(answer)) => Tried::Answered(Ok(answer)),
            Some(Told::Failed(failure)) => Tried::Answered(Err(error_of(failure))),
            Some(Told::NotHere(_)) => Tried::NotHere,
            None => Tried::Answered(Err(Error::new(Code::Internal, "internal error"))),
        }
    }

    /// What this node, the room's home, says. A room whose people are on their way back is there,
    /// though nothing can be said of it yet.
    async fn answer_for_room(&self, caller: &Caller, request: &ApiRequest) -> Answer {
        let (service, method) = (&request.service, request.method.as_str());
        let makes = matches!(method, "CreateRoom" | "CreateDispatch");
        if !makes && self.homes.awaits(&request.room) {
            let may_delete = method == DELETE && caller.may_create_rooms().is_ok();
            if may_delete && self.homes.end_awaited(&request.room).await {
                return Ok(proto::DeleteRoomResponse {}.encode_to_vec());
            }
            return Err(room_error(RoomError::Elsewhere));
        }
        self.answer(caller, service, method, &request.body).await
    }

    /// What this node says to it.
    async fn answer(&self, caller: &Caller, service: &str, method: &str, body: &[u8]) -> Answer {
        if service == OPERATOR {
            return self.answer_operator(caller, method, body).await;
        }
        match Method::find(&format!("livekit.{service}"), method) {
            Some(method) => self.here.call_here(caller, &method, body).await,
            None => Err(Error::new(Code::Unimplemented, "not implemented")),
        }
    }

    async fn answer_operator(&self, caller: &Caller, method: &str, body: &[u8]) -> Answer {
        let room = String::from_utf8_lossy(body);
        let (may, call) = match method {
            INSPECT => (caller.may_administer(&room), RoomCall::Inspect),
            MOVES => (caller.may_know_of(&room), RoomCall::Moves),
            _ => return Err(Error::new(Code::Unimplemented, "not implemented")),
        };
        if may.is_err() {
            return Err(Error::new(Code::Unauthenticated, "permissions denied"));
        }
        match self.rooms.call(&room, call).await {
            Ok(RoomReply::Inspection(value)) => Ok(value.to_string().into_bytes()),
            Ok(_) => Err(room_error(RoomError::Internal("unexpected answer".into()))),
            Err(RoomError::NotFound(text)) => Err(Error::new(Code::NotFound, text)),
            Err(error) => Err(room_error(error)),
        }
    }

    async fn serve(&self, request: ApiRequest) -> Told {
        let claims = request.claims_json.as_deref().map(serde_json::from_slice);
        let Ok(claims) = claims.transpose() else {
            return Told::Failed(failure_of(Error::new(Code::Internal, "malformed claims")));
        };
        let caller = Caller(claims);
        if !request.room.is_empty() {
            let epoch = Epoch(request.epoch);
            if self.homes.enter(&request.room, epoch).await.is_err() {
                return Told::NotHere(true);
            }
        }
        let list = (request.method == "ListRooms")
            .then(|| Method::find("livekit.RoomService", "ListRooms"))
            .flatten();
        let answer = match list {
            Some(method) => self.list_here(&caller, &method, &request.body).await,
            None => self.answer_for_room(&caller, &request).await,
        };
        match answer {
            Ok(answer) => Told::Done(answer),
            Err(error) if is_elsewhere(&error) => Told::NotHere(true),
            Err(error) => Told::Failed(failure_of(error)),
        }
    }

    fn target(&self, method: &Method, body: &[u8]) -> Target {
        target(&method.service(), method.name(), body, self.auto_create)
    }
}

impl Forward for ClusterApi {
    fn call<'a>(
        &'a self,
        caller: &'a Caller,
        method: &'a Method,
        request: &'a [u8],
    ) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            match self.target(method, request) {
                Target::Anybody => self.here.call_here(caller, method, request).await,
                Target::Everybody => self.list(caller, method, request).await,
                target => {
                    let (service, name) = (method.service(), method.name());
                    self.carry(caller, &service, name, request, target).await
                }
            }
        })
    }
}

impl Serve for ClusterApi {
    fn call(&self, _: NodeId, request: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            let request = ApiRequest::decode(request).map_err(|error| error.to_string())?;
            let answer = Some(self.serve(request).await);
            Ok(ApiReply { answer }.encode_to_vec().into())
        })
    }

    fn stream(&self, _: NodeId, _: Duplex) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

fn claims_of(caller: &Caller) -> Option<Vec<u8>> {
    // Claims came from JSON; writing them back cannot fail.
    let claims = caller.0.as_ref();
    claims.map(|claims| serde_json::to_vec(claims).unwrap_or_default())
}

fn unavailable(why: &str) -> Error {
    Error::new(Code::Unavailable, why)
}

fn failure_of(error: Error) -> ApiFailure {
    ApiFailure {
        code: error.code.name().to_owned(),
        message: error.message,
        meta: error.meta,
    }
}

fn error_of(failure: ApiFailure) -> Error {
    Error {
        code: Code::named(&failure.code).unwrap_or(Code::Unknown),
        message: failure.message,
        meta: failure.meta,
    }
}
