//! What a client does to its running session, wherever the request arrived: a session stays at the
//! node that took its offer, which its resource names in a cluster, and a balancer sends the
//! requests after it to any.

use std::sync::Arc;

use actix_web::http::StatusCode;
use bytes::Bytes;
use consensus::ids::NodeId;
use futures_util::future::BoxFuture;
use prost::Message;
use tokio::sync::oneshot;

use super::Failure;
use super::directory::{Directory, Owner};
use super::fragment::Fragment;
use super::limits::{ANSWER_TIMEOUT, FORWARD_TIMEOUT};
use super::session::{PatchError, Restarted};
use super::session_actor::{Patch, PatchKind};
use crate::cluster::links::registry::Registry;
use crate::cluster::links::{Duplex, LinkError, Links, Serve, Service};
use crate::signal::Lobby;

/// Any entity tag: the transport begins anew.
const RESTART: &str = "*";
/// Between a participant and its node in a resource.
const AT: char = '@';

/// What is asked, between nodes too.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Change {
    #[prost(string, tag = "1")]
    pub(super) participant: String,
    /// Of the token, which the node that was asked has verified.
    #[prost(string, tag = "2")]
    pub(super) room: String,
    #[prost(string, tag = "3")]
    pub(super) identity: String,
    /// Absent: the session ends.
    #[prost(message, optional, tag = "4")]
    pub(super) patch: Option<PatchBody>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PatchBody {
    #[prost(string, tag = "1")]
    pub(super) entity_tag: String,
    #[prost(string, tag = "2")]
    pub(super) fragment: String,
}

/// The answer between nodes.
#[derive(Clone, PartialEq, prost::Message)]
struct Reply {
    /// Of HTTP.
    #[prost(uint32, tag = "1")]
    status: u32,
    /// Why not.
    #[prost(string, tag = "2")]
    error: String,
    #[prost(message, optional, tag = "3")]
    restarted: Option<RestartedBody>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RestartedBody {
    #[prost(string, tag = "1")]
    ufrag: String,
    #[prost(string, tag = "2")]
    fragment: String,
}

/// Where the other nodes of the cluster are.
pub struct Neighbours<'a> {
    pub node: NodeId,
    pub links: Arc<dyn Links>,
    /// What this node answers them.
    pub answers: &'a Registry,
}

/// Clones are one.
#[derive(Clone)]
pub(super) struct Sessions {
    pub(super) directory: Arc<Directory>,
    pub(super) lobby: Arc<dyn Lobby>,
    others: Option<(NodeId, Arc<dyn Links>)>,
}

impl Sessions {
    pub(super) fn new(lobby: Arc<dyn Lobby>, neighbours: Option<Neighbours<'_>>) -> Self {
        let mut sessions = Self {
            directory: Arc::default(),
            lobby,
            others: None,
        };
        if let Some(neighbours) = neighbours {
            // What comes from others is for this node, or for nobody.
            let here = Arc::new(sessions.clone());
            neighbours.answers.add(Service::Whip, here);
            sessions.others = Some((neighbours.node, neighbours.links));
        }
        sessions
    }

    /// The last part of the resource's path.
    pub(super) fn resource(&self, participant: &str) -> String {
        match &self.others {
            Some((node, _)) => format!("{participant}{AT}{}", node.0),
            None => participant.to_owned(),
        }
    }

    /// `resource` is as it was told; in `change` it is filled in.
    pub(super) async fn change(
        &self,
        resource: &str,
        mut change: Change,
    ) -> Result<Option<Restarted>, Failure> {
        let split = resource.split_once(AT);
        let (participant, node) = split.map_or((resource, None), |(p, node)| (p, Some(node)));
        participant.clone_into(&mut change.participant);
        let node = node.map(|node| node.parse().map(NodeId));
        let node = node.transpose().map_err(|_| Failure::not_found())?;
        match (node, &self.others) {
            (Some(node), Some((here, links))) if node != *here => {
                forward(links, node, change).await
            }
            _ => self.change_here(change).await,
        }
    }

    async fn change_here(&self, change: Change) -> Result<Option<Restarted>, Failure> {
        let participant = &change.participant;
        let owner = Owner {
            room: change.room,
            identity: change.identity,
        };
        let Some(patch) = change.patch else {
            let leave = self.directory.remove(participant, &owner);
            let leave = leave.ok_or_else(Failure::not_found)?;
            leave.tell(&*self.lobby);
            return Ok(None);
        };
        let fragment = Fragment::parse(&patch.fragment);
        let fragment = fragment.map_err(|_| Failure::bad_request("invalid SDP fragment"))?;
        let session = self.directory.find(participant, &owner);
        let session = session.ok_or_else(Failure::not_found)?;
        let kind = match patch.entity_tag.as_str() {
            RESTART => PatchKind::Restart,
            tag => PatchKind::Trickle {
                generation: tag.trim_matches('"').to_owned(),
            },
        };
        let (reply, answer) = oneshot::channel();
        session.do_send(Patch {
            kind,
            fragment,
            reply,
        });
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, answer).await;
        let answer = answer.map_err(|_| Failure::from(PatchError::Refused))?;
        // A dropped reply means that the session ended meanwhile.
        let answer = answer.map_err(|_| Failure::not_found())?;
        answer.map_err(Failure::from)
    }
}

async fn forward(
    links: &Arc<dyn Links>,
    node: NodeId,
    change: Change,
) -> Result<Option<Restarted>, Failure> {
    let asked = Bytes::from(change.encode_to_vec());
    let told = links.call(node, Service::Whip, asked, FORWARD_TIMEOUT);
    let told = told.await.map_err(|error| match error {
        // It died or was removed, and the session with it.
        LinkError::Unknown(_) => Failure::not_found(),
        error => {
            // Where nodes are is not for everybody to know.
            tracing::debug!(%node, %error, "the node of a WHIP session was not asked");
            let said = "the node of this session cannot be reached now";
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, said)
        }
    })?;
    let reply = Reply::decode(told);
    let reply = reply.map_err(|error| Failure::new(StatusCode::BAD_GATEWAY, error.to_string()))?;
    let status = u16::try_from(reply.status).ok();
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    match status.unwrap_or(StatusCode::BAD_GATEWAY) {
        status if status.is_success() => Ok(reply.restarted.map(|told| Restarted {
            ufrag: told.ufrag,
            fragment: told.fragment,
        })),
        status => Err(Failure::new(status, reply.error)),
    }
}

impl Serve for Sessions {
    fn call(&self, _: NodeId, request: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            let change = Change::decode(request).map_err(|error| error.to_string())?;
            let reply = match self.change_here(change).await {
                Ok(restarted) => Reply {
                    status: u32::from(StatusCode::OK.as_u16()),
                    error: String::new(),
                    restarted: restarted.map(|restarted| RestartedBody {
                        ufrag: restarted.ufrag,
                        fragment: restarted.fragment,
                    }),
                },
                Err(Failure(status, error)) => Reply {
                    status: u32::from(status.as_u16()),
                    error,
                    restarted: None,
                },
            };
            Ok(reply.encode_to_vec().into())
        })
    }

    fn stream(&self, _: NodeId, _: Duplex) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
