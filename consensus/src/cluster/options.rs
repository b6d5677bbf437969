//! How a node takes part: its times and where its disk work runs.

use std::time::Duration;

use openraft::{Config, SnapshotPolicy};

use super::Lanes;
use crate::limits::{
    LOG_ENTRIES_KEPT, PROPOSE_ENTRIES_MAX, PROPOSE_PATIENCE_MS, PROPOSE_RETRY_MS, SNAPSHOT_ENTRIES,
    SNAPSHOT_PATIENCE_MS,
};

#[derive(Clone, Debug)]
pub struct ClusterOptions {
    pub heartbeat: Duration,
    /// A follower that hears nothing for a time drawn between these two campaigns. The greater one
    /// is also the leader's lease: a failover takes it and one draw.
    pub election_timeout_min: Duration,
    pub election_timeout_max: Duration,
    pub snapshot_entries: u64,
    pub log_entries_kept: u64,
    /// How long a proposal or a read is tried again while nobody leads.
    pub patience: Duration,
    /// Between two tries.
    pub retry: Duration,
    /// Entries after which a command that may have been written is not tried again.
    pub propose_entries: u64,
    pub lanes: Lanes,
    /// Sees everything this node applies, before anybody is answered.
    #[cfg(any(test, feature = "testing"))]
    pub observer: Option<crate::testing::Observer>,
}

impl Default for ClusterOptions {
    /// Failover in about half a second on a local network.
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(50),
            election_timeout_min: Duration::from_millis(200),
            election_timeout_max: Duration::from_millis(400),
            snapshot_entries: SNAPSHOT_ENTRIES,
            log_entries_kept: LOG_ENTRIES_KEPT,
            patience: Duration::from_millis(PROPOSE_PATIENCE_MS),
            retry: Duration::from_millis(PROPOSE_RETRY_MS),
            propose_entries: PROPOSE_ENTRIES_MAX,
            lanes: Lanes::Threads,
            #[cfg(any(test, feature = "testing"))]
            observer: None,
        }
    }
}

impl ClusterOptions {
    /// A full voter that leads only if nobody else will: it campaigns, later than the others.
    pub fn witness(mut self) -> Self {
        self.election_timeout_min *= 2;
        self.election_timeout_max *= 2;
        self
    }

    pub(super) fn raft_config(&self) -> Result<Config, String> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let config = Config {
            cluster_name: "skein".into(),
            heartbeat_interval: ms(self.heartbeat),
            election_timeout_min: ms(self.election_timeout_min),
            election_timeout_max: ms(self.election_timeout_max),
            install_snapshot_timeout: SNAPSHOT_PATIENCE_MS,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_entries),
            max_in_snapshot_log_to_keep: self.log_entries_kept,
            replication_lag_threshold: self.log_entries_kept.max(1),
            enable_pre_vote: Some(true),
            // Followers may have made durable, and so committed, what a leader's own disk had not
            // yet written: leading on in its old term after a restart, it would give the same
            // positions of the log to other entries.
            enable_leader_restore: Some(false),
            ..Config::default()
        };
        config.validate().map_err(|error| error.to_string())
    }
}
