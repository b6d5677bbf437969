//! Lists of rooms over all nodes: each says which it has, and the log which have nobody to say so.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use prost::Message;
use protocol::proto;
use protocol::twirp::{Code, Error, Method};

use super::{ClusterApi, Tried, claims_of};
use crate::api::Answer;
use crate::auth::Caller;
use crate::cluster::directory::Found;
use crate::cluster::limits::API_LIST_TIMEOUT;
use crate::cluster::wire::ApiRequest;

impl ClusterApi {
    /// Rooms of all nodes; those of a node that does not answer are missing.
    pub(super) async fn list(&self, caller: &Caller, method: &Method, body: &[u8]) -> Answer {
        if caller.may_list_rooms().is_err() {
            return self.here.call_here(caller, method, body).await;
        }
        let request = ApiRequest {
            claims_json: claims_of(caller),
            service: method.service(),
            method: method.name().to_owned(),
            body: body.to_vec(),
            ..ApiRequest::default()
        };
        let nodes = self.directory.media_nodes();
        let asked = nodes.into_iter().map(|node| {
            let request = &request;
            async move {
                let answer = if node == self.directory.node() {
                    self.list_here(caller, method, body).await
                } else {
                    match self.ask_node(node, request, API_LIST_TIMEOUT).await {
                        Tried::Answered(answer) => answer,
                        Tried::NotHere | Tried::Lost(_) => {
                            tracing::warn!(%node, "rooms of this node are missing in a list");
                            Ok(Vec::new())
                        }
                    }
                };
                Ok::<_, Error>((node, answer?))
            }
        });
        let mut merged = BTreeMap::new();
        for answer in join_all(asked).await {
            let (node, answer) = answer?;
            let rooms = proto::ListRoomsResponse::decode(&answer[..]);
            let rooms = rooms.map_err(|_| Error::new(Code::Internal, "internal error"))?;
            for room in rooms.rooms {
                // One that moves may be on two nodes for a moment: its home is right.
                let is_home = matches!(
                    self.directory.find(&room.name),
                    Found::Placed(place) if place.home == node
                );
                if is_home || !merged.contains_key(&room.name) {
                    merged.insert(room.name.clone(), room);
                }
            }
        }
        let wanted = proto::ListRoomsRequest::decode(body).unwrap_or_default();
        for (name, sid) in self.directory.orphans() {
            if wanted.names.is_empty() || wanted.names.contains(&name) {
                merged
                    .entry(name.clone())
                    .or_insert_with(|| bare(name, sid));
            }
        }
        let mut rooms: Vec<_> = merged.into_values().collect();
        crate::rooms::sort_oldest_first(&mut rooms);
        Ok(proto::ListRoomsResponse { rooms }.encode_to_vec())
    }

    /// The rooms of this node, also those whose people are on their way back.
    pub(super) async fn list_here(&self, caller: &Caller, method: &Method, body: &[u8]) -> Answer {
        let answer = self.here.call_here(caller, method, body).await?;
        let awaited = self.homes.awaited();
        if awaited.is_empty() {
            return Ok(answer);
        }
        let failed = |_| Error::new(Code::Internal, "internal error");
        let mut listed = proto::ListRoomsResponse::decode(&answer[..]).map_err(failed)?;
        let wanted = proto::ListRoomsRequest::decode(body).map_err(failed)?.names;
        for (name, room) in awaited {
            let known = listed.rooms.iter().any(|listed| listed.name == name);
            if !known && (wanted.is_empty() || wanted.contains(&name)) {
                listed.rooms.push(bare(name, room.sid.0));
            }
        }
        Ok(listed.encode_to_vec())
    }
}

/// A room of which only the log knows anything.
fn bare(name: String, sid: String) -> proto::Room {
    proto::Room {
        name,
        sid,
        ..Default::default()
    }
}
