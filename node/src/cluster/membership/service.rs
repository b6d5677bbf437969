//! Answers other nodes about membership: who this is, and taking somebody in, which only the
//! leader can and others pass on to it once.

use std::collections::BTreeMap;

use bytes::Bytes;
use consensus::cluster::ClusterError;
use consensus::ids::NodeId;
use consensus::state::State;
use futures_util::future::BoxFuture;
use tokio::time::{sleep, timeout};

use super::Membership;
use super::messages::{Introduction, Question, decode, encode};
use crate::cluster::limits::{MEMBERSHIP_PATIENCE, MEMBERSHIP_RETRY};
use crate::cluster::links::{Duplex, Links, Serve, Service};
use crate::cluster::report::report;

const OTHER_GENERATION: &str = "this node is of another cluster with the same token, founded \
    anew: stop the one that is not wanted, and delete cluster.directory of its nodes";

/// Who wants to follow the log.
struct Newcomer {
    node: NodeId,
    address: String,
    generation: Option<String>,
    version_max: u16,
}

impl Serve for Membership {
    fn call(&self, from: NodeId, request: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            match decode(&request)? {
                Question::Who => Ok(encode(&self.introduce())),
                Question::Join {
                    node,
                    address,
                    forwarded,
                    generation,
                    version_max,
                } => {
                    let node = NodeId(node);
                    if !forwarded && from != node {
                        return Err(format!("{from} asks for {node}"));
                    }
                    let newcomer = Newcomer {
                        node,
                        address,
                        generation,
                        version_max,
                    };
                    self.take_in(newcomer, forwarded).await
                }
                Question::Report => {
                    let nobody = BTreeMap::new();
                    Ok(encode(&report(&self.cluster, &self.heartbeats, &nobody)))
                }
            }
        })
    }

    fn stream(&self, _: NodeId, _: Duplex) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

impl Membership {
    fn introduce(&self) -> Introduction {
        let founder = self.founder.lock();
        let founder = founder.unwrap_or_else(std::sync::PoisonError::into_inner);
        Introduction {
            node: self.node().0,
            knows_cluster: !self.cluster.status().voters.is_empty(),
            founder: *founder && self.settings.info.roles.master,
            generation: self.generation(),
        }
    }

    async fn add(&self, node: NodeId, address: &str) -> Result<(), String> {
        let _one = self.door.lock().await;
        loop {
            match self.cluster.add_learner(node, address).await {
                // Raft changes its members one change at a time, and the keeper changes them too.
                Err(ClusterError::Refused(_)) if self.cluster.status().changing => {
                    sleep(MEMBERSHIP_RETRY / 10).await;
                }
                added => return added.map_err(|error| error.to_string()),
            }
        }
    }

    async fn take_in(&self, newcomer: Newcomer, forwarded: bool) -> Result<Bytes, String> {
        let Newcomer {
            node,
            address,
            generation,
            version_max,
        } = newcomer;
        let common = self.cluster.read(State::common_version);
        if version_max < common {
            return Err(format!(
                "the log of this cluster is written in version {common}, and the program of this \
                 node reads version {version_max}: upgrade it"
            ));
        }
        let ours = self.generation();
        if ours.is_some() && generation.is_some() && ours != generation {
            tracing::error!(
                node = node.0,
                address,
                "refused a node of another cluster that has the same cluster.token"
            );
            return Err(OTHER_GENERATION.into());
        }
        let leader = self.cluster.status().leader;
        let leader = leader.ok_or("nobody leads the cluster now")?;
        if leader == self.node() {
            self.fabric.book().set(node, &address);
            let added = timeout(MEMBERSHIP_PATIENCE, self.add(node, &address));
            added.await.map_err(|_| "no quorum answers")??;
            tracing::info!(node = node.0, address, "took a node in");
            return Ok(Bytes::new());
        }
        if forwarded {
            return Err("another node leads by now".into());
        }
        let question = Question::Join {
            node: node.0,
            address,
            forwarded: true,
            generation,
            version_max,
        };
        let asked = self.fabric.call(
            leader,
            Service::Membership,
            encode(&question),
            MEMBERSHIP_PATIENCE,
        );
        asked.await.map_err(|error| error.to_string())
    }
}
