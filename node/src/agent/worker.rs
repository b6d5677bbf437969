//! One agent worker as the server knows it: how it registered, how busy it is, what it runs, and
//! the token its agents join with. Owned by `jobs`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use protocol::grants::{Claims, VideoGrant};
use protocol::ids::WorkerId;
use protocol::proto::{
    AvailabilityResponse, JobType, ParticipantPermission, RegisterWorkerRequest,
    UpdateWorkerStatus, WorkerStatus,
};

use super::limits::{AGENT_TOKEN_SECONDS, NAME_CHARS_MAX};
use crate::room::source_name;

/// Tells a participant which agent it looks at (upstream's `AgentNameAttributeKey`).
const AGENT_NAME_ATTRIBUTE: &str = "lk.agent_name";

/// Which jobs a worker can be offered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct WorkerKey {
    pub(crate) agent_name: String,
    pub(crate) namespace: String,
    pub(crate) deployment: String,
    pub(crate) job_type: i32,
}

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    /// Signs the tokens of its agents: the key it connected with.
    api_key: String,
    pub(crate) register_by: Instant,
    registration: Option<Registration>,
    available: bool,
    load: f32,
    pub(crate) jobs: BTreeSet<String>,
}

#[derive(Debug)]
struct Registration {
    key: WorkerKey,
    permission: ParticipantPermission,
}

/// Why a worker cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegisterError {
    #[error("unknown job type {0}")]
    JobType(i32),
    #[error("a name is longer than {NAME_CHARS_MAX} characters")]
    Name,
}

impl Worker {
    pub(crate) fn new(id: WorkerId, api_key: String, register_by: Instant) -> Self {
        Self {
            id,
            api_key,
            register_by,
            registration: None,
            available: true,
            load: 0.0,
            jobs: BTreeSet::new(),
        }
    }

    pub(crate) fn register(&mut self, request: RegisterWorkerRequest) -> Result<(), RegisterError> {
        if JobType::try_from(request.r#type).is_err() {
            return Err(RegisterError::JobType(request.r#type));
        }
        let key = WorkerKey {
            agent_name: request.agent_name,
            namespace: request.namespace.unwrap_or_default(),
            deployment: request.deployment,
            job_type: request.r#type,
        };
        for name in [&key.agent_name, &key.namespace, &key.deployment] {
            if name.chars().count() > NAME_CHARS_MAX {
                return Err(RegisterError::Name);
            }
        }
        let permission = request
            .allowed_permissions
            .unwrap_or_else(|| ParticipantPermission {
                can_subscribe: true,
                can_publish: true,
                can_publish_data: true,
                can_update_metadata: true,
                ..Default::default()
            });
        self.registration = Some(Registration { key, permission });
        Ok(())
    }

    pub(crate) fn key(&self) -> Option<&WorkerKey> {
        self.registration
            .as_ref()
            .map(|registration| &registration.key)
    }

    pub(crate) fn update(&mut self, update: &UpdateWorkerStatus) {
        if let Some(status) = update.status {
            self.available = status == WorkerStatus::WsAvailable as i32;
        }
        if update.draining {
            self.available = false;
        }
        if update.load.is_finite() {
            self.load = update.load;
        }
    }

    /// Its load, if it may be offered jobs of that kind.
    pub(crate) fn load_for(&self, wanted: &WorkerKey) -> Option<f32> {
        (self.available && self.key() == Some(wanted)).then_some(self.load)
    }

    /// What the agent's token says. `now` in seconds since the epoch.
    pub(crate) fn claims(&self, room: &str, answer: AvailabilityResponse, now: i64) -> Claims {
        let registration = self.registration.as_ref();
        let agent_name = registration
            .map(|r| r.key.agent_name.clone())
            .unwrap_or_default();
        let permission = registration
            .map(|r| r.permission.clone())
            .unwrap_or_default();
        let mut attributes: BTreeMap<_, _> = answer.participant_attributes.into_iter().collect();
        attributes.insert(AGENT_NAME_ATTRIBUTE.to_owned(), agent_name);
        let sources = permission
            .can_publish_sources
            .iter()
            .map(|source| source_name(*source));
        let video = VideoGrant {
            room_join: true,
            agent: true,
            room: room.to_owned(),
            can_subscribe: Some(permission.can_subscribe),
            can_publish: Some(permission.can_publish),
            can_publish_data: Some(permission.can_publish_data),
            can_publish_sources: sources.collect(),
            can_update_own_metadata: Some(permission.can_update_metadata),
            can_subscribe_metrics: Some(permission.can_subscribe_metrics),
            can_manage_agent_session: Some(permission.can_manage_agent_session),
            hidden: permission.hidden,
            ..VideoGrant::default()
        };
        Claims {
            issuer: self.api_key.clone(),
            identity: answer.participant_identity,
            name: answer.participant_name,
            metadata: answer.participant_metadata,
            attributes,
            kind: "agent".to_owned(),
            nbf: now,
            exp: now.saturating_add(AGENT_TOKEN_SECONDS),
            video: Some(video),
            ..Claims::default()
        }
    }
}
