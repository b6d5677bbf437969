//! What the cloud says to the machine this node runs on, asked for every few seconds. Where it
//! takes the machine, the node is drained; the cloud is told that this goes on and, when it is
//! over, that the machine may go. What is called off, or over after a reboot, is undrained.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use consensus::cluster::Cluster;
use operator::cloud::{Notice, Notices};
use operator::drain::{Cause, Record, Then};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::drain::{Drainage, Terms, drain_record};
use super::limits::{NOTICE_HOLD_INTERVAL, NOTICE_MARGIN, NOTICES_INTERVAL};
use super::node::ClusterNode;

/// What it is made of.
pub struct NoticesParts {
    pub cluster: Cluster,
    pub drainage: Drainage,
    pub notices: Arc<dyn Notices>,
}

/// Listens until the node stops.
pub fn attach(node: &ClusterNode, drainage: Drainage, notices: Arc<dyn Notices>) {
    let parts = NoticesParts {
        cluster: node.cluster().clone(),
        drainage,
        notices,
    };
    node.keep(tokio::spawn(run(parts)));
}

/// Runs until it is dropped.
pub async fn run(parts: NoticesParts) {
    let mut tick = interval(NOTICES_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ear = Ear {
        parts,
        known: None,
        failing: false,
    };
    loop {
        tick.tick().await;
        ear.turn().await;
    }
}

struct Ear {
    parts: NoticesParts,
    known: Option<Known>,
    /// The last time nothing was said.
    failing: bool,
}

struct Known {
    notice: Notice,
    /// The node was told to drain.
    drains: bool,
    held: Instant,
    released: bool,
}

impl Ear {
    async fn turn(&mut self) {
        let said = match self.parts.notices.poll().await {
            Ok(said) => said,
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, "the cloud does not say what becomes of this machine");
                }
                return;
            }
        };
        self.failing = false;
        let known = self.known.take();
        let Some(notice) = said else {
            self.stay().await;
            return;
        };
        let same = known.filter(|known| known.notice.id == notice.id);
        let mut known = same.unwrap_or_else(|| Known {
            notice,
            drains: false,
            held: Instant::now(),
            released: false,
        });
        match known.drains {
            false => self.drain(&mut known).await,
            true => self.go_on(&mut known).await,
        }
        self.known = Some(known);
    }

    fn record(&self) -> Option<Record> {
        let cluster = &self.parts.cluster;
        cluster.read(|state| drain_record(state, cluster.node()))
    }

    async fn drain(&self, known: &mut Known) {
        let Notice { within, reason, .. } = &known.notice;
        tracing::warn!(reason, ?within, "the cloud takes this machine");
        let left = within.map(|within| within.saturating_sub(NOTICE_MARGIN));
        let terms = Terms {
            cause: Cause::Cloud,
            then: Then::Stay,
            deadline_seconds: left.as_ref().map(Duration::as_secs),
        };
        let me = self.parts.cluster.node();
        match self.parts.drainage.drain(me, &terms).await {
            Ok(()) => known.drains = true,
            // At the next turn again.
            Err(error) => tracing::warn!(%error, "this node is not drained yet"),
        }
    }

    async fn go_on(&self, known: &mut Known) {
        if known.released {
            return;
        }
        let record = self.record();
        let cluster = &self.parts.cluster;
        let member = cluster.read(|state| state.node(cluster.node()).is_some());
        if record.is_none() && member {
            // Somebody undrained it, and the machine goes all the same.
            known.drains = false;
            return;
        }
        let over = record.is_none_or(|record| record.done_ms.is_some());
        if !over && known.held.elapsed() < NOTICE_HOLD_INTERVAL {
            return;
        }
        let notices = &self.parts.notices;
        let told = match over {
            true => notices.release(&known.notice).await,
            false => notices.hold(&known.notice).await,
        };
        match told {
            Ok(()) => {
                known.released = over;
                known.held = Instant::now();
                if over {
                    tracing::info!("the machine may go");
                }
            }
            Err(error) => tracing::warn!(%error, over, "the cloud was not told"),
        }
    }

    /// Nothing is said: what was is called off, or the machine is back.
    async fn stay(&self) {
        if self
            .record()
            .is_none_or(|record| record.cause != Cause::Cloud)
        {
            return;
        }
        tracing::info!("the cloud leaves this machine: the node serves again");
        let me = self.parts.cluster.node();
        if let Err(error) = self.parts.drainage.undrain(me).await {
            tracing::warn!(%error, "this node still drains");
        }
    }
}
