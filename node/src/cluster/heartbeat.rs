//! What nodes say of themselves once a second: every node to every master, and to whoever leads.
//! Not in the log: a figure that is lost is replaced by the next. Placement, the quorum keeper and
//! the operator read the table.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use consensus::cluster::Cluster;
use consensus::command::NodeState;
use consensus::ids::{Epoch, NodeId};
use consensus::limits::NODES_MAX;
use consensus::placement::Load;
use futures_util::future::{BoxFuture, join_all};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::limits::{HEARTBEAT_INTERVAL, HEARTBEAT_PATIENCE, VERSION_BYTES_MAX};
use super::links::{Duplex, Links, Serve, Service};

/// What one node says of itself; JSON on the wire, so that two versions understand each other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Beat {
    /// Share of all CPUs in use, 0 to 1.
    pub cpu: f64,
    /// Load average of the last minute.
    pub average_1min: f64,
    pub cpus: u32,
    pub rooms: u32,
    pub clients: u32,
    /// In and out.
    pub tracks: u32,
    /// In and out.
    pub bytes_per_second: f64,
    /// It takes no new participant (`limit.num_tracks`, `limit.bytes_per_sec`).
    pub full: bool,
    /// Stays, as opposed to what an autoscaler takes away.
    pub long_lived: bool,
    /// Of the program.
    pub version: String,
    /// Which life speaks; 0 until it is registered.
    pub incarnation: u64,
}

impl Beat {
    /// As placement takes it. What cannot be is taken for an idle node's.
    pub fn load(&self) -> Load {
        let sane = |value: f64| {
            if value.is_finite() {
                value.max(0.0)
            } else {
                0.0
            }
        };
        Load {
            cpu: sane(self.cpu),
            average_1min: sane(self.average_1min),
            cpus: self.cpus,
            rooms: self.rooms,
            clients: self.clients,
            tracks: self.tracks,
            bytes_per_second: sane(self.bytes_per_second),
        }
    }
}

/// The last word of a node, and how old it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    pub beat: Beat,
    pub age: Duration,
}

/// What nodes last said. Clones are equal.
#[derive(Clone, Default)]
pub struct Heartbeats {
    inner: Arc<Mutex<BTreeMap<NodeId, (Beat, Instant)>>>,
}

impl Heartbeats {
    pub fn of(&self, node: NodeId) -> Option<Heard> {
        self.lock().get(&node).map(|(beat, at)| Heard {
            beat: beat.clone(),
            age: at.elapsed(),
        })
    }

    pub fn note(&self, node: NodeId, mut beat: Beat) {
        if beat.version.len() > VERSION_BYTES_MAX {
            beat.version.clear();
        }
        let mut table = self.lock();
        if table.len() < NODES_MAX || table.contains_key(&node) {
            table.insert(node, (beat, Instant::now()));
        }
    }

    /// Only these are of the cluster.
    fn retain(&self, known: impl Fn(NodeId) -> bool) {
        self.lock().retain(|node, _| known(*node));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, (Beat, Instant)>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Serve for Heartbeats {
    fn call(&self, from: NodeId, request: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        let beat = serde_json::from_slice(&request);
        let noted = beat.map(|beat| self.note(from, beat));
        let answer = noted.map(|()| Bytes::new());
        Box::pin(async move { answer.map_err(|error| error.to_string()) })
    }

    fn stream(&self, _: NodeId, _: Duplex) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// Measures this node.
pub type Pulse = Arc<dyn Fn() -> Beat + Send + Sync>;

/// Speaks for as long as the cluster runs.
pub(crate) async fn beat(
    cluster: Cluster,
    links: Arc<dyn Links>,
    heard: Heartbeats,
    incarnation: impl Fn() -> Option<Epoch> + Send,
    pulse: Pulse,
) {
    let mut tick = interval(HEARTBEAT_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let me = cluster.node();
    loop {
        tick.tick().await;
        let mut beat = pulse();
        beat.incarnation = incarnation().map_or(0, |epoch| epoch.0);
        heard.note(me, beat.clone());
        let Ok(message) = serde_json::to_vec(&beat) else {
            continue;
        };
        let message = Bytes::from(message);
        heard.retain(|node| node == me || cluster.read(|state| state.node(node).is_some()));
        let told = listeners(&cluster).into_iter().map(|node| {
            let message = message.clone();
            links.call(node, Service::Heartbeat, message, HEARTBEAT_PATIENCE)
        });
        // Who did not hear this one hears the next.
        join_all(told).await;
    }
}

fn listeners(cluster: &Cluster) -> Vec<NodeId> {
    let me = cluster.node();
    let leader = cluster.status().leader;
    cluster.read(|state| {
        let listens = |(node, known): (NodeId, &consensus::state::Node)| {
            let master = known.info.roles.master && known.state != NodeState::Dead;
            (node != me && (master || Some(node) == leader)).then_some(node)
        };
        state.nodes().filter_map(listens).collect()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn figures_are_kept_with_their_age_and_foreign_bytes_are_refused() {
        let heard = Heartbeats::default();
        let node = NodeId(7);
        let said = br#"{"cpu": 0.5, "rooms": 3, "of_a_newer_version": true}"#;
        heard.call(node, Bytes::from_static(said)).await.unwrap();
        tokio::time::advance(Duration::from_secs(2)).await;
        let kept = heard.of(node).unwrap();
        assert_eq!((kept.beat.rooms, kept.beat.load().cpu), (3, 0.5));
        assert_eq!(kept.age, Duration::from_secs(2));
        let nonsense = heard.call(node, Bytes::from_static(b"nonsense")).await;
        assert!(nonsense.is_err());
        let mad = Beat {
            cpu: -1.0,
            version: "v".repeat(10_000),
            ..Beat::default()
        };
        heard.note(node, mad);
        let kept = heard.of(node).unwrap().beat;
        assert_eq!((kept.load().cpu, kept.version.len()), (0.0, 0));
    }
}
