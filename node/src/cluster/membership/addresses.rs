//! Keeps the fabric's address book like the state of the cluster, and breaks connections to nodes
//! that were found dead or removed, so that nobody waits for them.

use consensus::cluster::{Change, Cluster};
use consensus::command::{Effect, NodeState};
use consensus::ids::NodeId;
use tokio::sync::broadcast::error::RecvError;

use crate::cluster::fabric::Fabric;

/// Follows for as long as the cluster runs.
pub(crate) async fn follow(cluster: Cluster, fabric: Fabric) {
    let mut changes = cluster.changes();
    read_all(&cluster, &fabric);
    loop {
        match changes.recv().await {
            Ok(Change::Effect { effect, .. }) => match effect {
                Effect::NodeChanged { node, .. } => read_one(&cluster, &fabric, node),
                Effect::NodeRemoved { node } => {
                    fabric.book().remove(node);
                    fabric.hang_up(node);
                    shut_out(&cluster, &fabric);
                }
                _ => {}
            },
            Ok(Change::Replaced { .. }) | Err(RecvError::Lagged(_)) => read_all(&cluster, &fabric),
            Err(RecvError::Closed) => return,
        }
    }
}

fn read_all(cluster: &Cluster, fabric: &Fabric) {
    cluster.read(|state| {
        for (node, known) in state.nodes() {
            fabric.book().set(node, &known.info.address);
        }
    });
    shut_out(cluster, fabric);
}

/// Copied: the network must not keep the log from being closed.
fn shut_out(cluster: &Cluster, fabric: &Fabric) {
    cluster.read(|state| fabric.shut_out(state.removed_nodes()));
}

/// As it is by now: an old entry that is applied again at a start must not break what lives.
fn read_one(cluster: &Cluster, fabric: &Fabric, node: NodeId) {
    let known = cluster.read(|state| {
        let known = state.node(node)?;
        Some((known.info.address.clone(), known.state))
    });
    let Some((address, state)) = known else {
        return;
    };
    fabric.book().set(node, &address);
    if state == NodeState::Dead && node != fabric.node() {
        fabric.hang_up(node);
    }
}
