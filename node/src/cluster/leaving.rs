//! How a node leaves its cluster when it is told to stop: it asks for no new rooms, sends the
//! clients it carries for others on their way, and at its end gives what is left to whoever stands
//! by, in one entry of the log. Called by `shutdown`; decides nothing about when.

use consensus::command::{Action, NodeState};
use tokio::time::timeout;

use super::hosting::Homes;
use super::limits::LEAVE_PATIENCE;
use super::liveness::Liveness;
use super::lobby::ClusterLobby;
use super::node::ClusterNode;

/// Clones are equal.
#[derive(Clone)]
pub struct Leaving {
    pub node: ClusterNode,
    pub liveness: Liveness,
    pub lobby: ClusterLobby,
    pub homes: Homes,
}

impl Leaving {
    /// From now on placement prefers others. A node without rooms has none to be spared, and a
    /// master keeps its vote until it is gone.
    pub async fn begin(&self) {
        let node = self.node.id();
        if self.node.settings().info.roles.media && self.node.incarnation().is_some() {
            self.tell(Action::DrainNode { node }).await;
        }
    }

    /// Clients whose rooms are elsewhere resume through other gateways.
    pub async fn send_clients_away(&self) {
        self.lobby.send_away().await;
    }

    /// This life is over: what is still here goes to those that stand by, and nobody needs to find
    /// out that this node is gone. `empty`: nobody is left in its rooms.
    pub async fn end(&self, empty: bool) {
        self.homes.leave();
        self.node.retire();
        let _ = timeout(LEAVE_PATIENCE, self.node.hand_over()).await;
        let Some(incarnation) = self.node.registered() else {
            return;
        };
        if empty {
            // Should the log not hear of it: there is nothing to take over.
            let _ = timeout(LEAVE_PATIENCE, self.liveness.say_farewell()).await;
        }
        let node = self.node.id();
        self.tell(Action::DeclareDead { node, incarnation }).await;
    }

    async fn tell(&self, action: Action) {
        let cluster = self.node.cluster();
        let node = self.node.id();
        let dead = cluster.read(|state| {
            let state = state.node(node).map(|known| known.state);
            matches!(state, None | Some(NodeState::Dead))
        });
        if dead {
            return;
        }
        match timeout(LEAVE_PATIENCE, cluster.propose(action)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the cluster was not told that this node stops")
            }
            Err(_) => tracing::warn!("the cluster was not told in time that this node stops"),
        }
    }
}
