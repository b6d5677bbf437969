//! One participant as the room knows it: claims, what others see, session, media core, timers.
//! Plain state with questions about itself; what happens to it is decided in the other files.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use media::TransportKey;
use protocol::grants::Claims;
use protocol::ids::ParticipantSid;
use protocol::proto;
use protocol::proto::data_blob_key::Key as BlobKey;
use protocol::proto::participant_info::{Kind, State};

use super::contract::SessionId;
use super::data::{DataSubscriptions, LOSSY};
use super::environment::MediaCore;
use super::fallback::Failures;
use super::limits::{WAITING_BYTES_MAX, WAITING_LOSSY_BYTES_MAX, WAITING_LOSSY_MAX};
use super::permissions::Allowed;
use crate::participant::{Published, quirks};

pub(super) struct Member {
    /// Its part of every key it issues.
    pub(super) number: u16,
    pub(super) sid: ParticipantSid,
    pub(super) claims: Claims,
    pub(super) client: proto::ClientInfo,
    pub(super) single_peer_connection: bool,
    pub(super) session: Option<SessionId>,
    /// Its signalling is single requests: nobody hears it be asked to resume.
    pub(super) one_shot: bool,
    pub(super) media: Box<dyn MediaCore>,
    /// What others see, as of the last announcement; tracks included.
    pub(super) info: proto::ParticipantInfo,
    pub(super) tracks: Vec<Published>,
    /// Who may subscribe to its tracks; `None` = everybody.
    pub(super) allow: Option<Allowed>,
    pub(super) data: MemberData,
    /// Points of the worst stream of each of its connections.
    pub(super) scores: BTreeMap<TransportKey, f32>,
    /// ICE or DTLS of a transport failed and has not come back.
    pub(super) transport_failed: bool,
    /// Its transports died with another node, and it has not come back.
    pub(super) cold: bool,
    /// What its client was told of speakers died with another node.
    pub(super) speakers_unknown: bool,
    /// Failures that may mean that the network lets nothing of its kind through.
    pub(super) failures: Failures,
    /// Its primary connection was up once.
    pub(super) was_active: bool,
    /// Agents for publishers were asked for.
    pub(super) has_published: bool,
    /// Its tracks go with it: no update for each of them.
    pub(super) closing: bool,
    pub(super) drop_on_resume: Option<DropOnResume>,
    /// Its token is without metadata or attributes, for their length.
    pub(super) token_cut: bool,
    pub(super) refresh_at: Instant,
    /// When its client last came to this session of its own; `None` = at another node, before its
    /// room came here.
    pub(super) asked: Option<Instant>,
    /// Not ACTIVE by then = gone.
    pub(super) join_deadline: Option<Instant>,
    /// Not back by then = gone.
    pub(super) close_at: Option<Instant>,
    /// When its signal was interrupted.
    pub(super) absent_since: Option<Instant>,
}

/// Simulated scenario: the next resume loses its WebSocket at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DropOnResume {
    AfterReconnect,
    BeforeAnything,
}

/// Data of a participant beside media.
#[derive(Default)]
pub(super) struct MemberData {
    /// Its channels are open.
    pub(super) ready: bool,
    /// Its room moved without it, and it has not said yet what it had got by then.
    pub(super) resyncs: bool,
    /// Messages for it that arrived earlier, by channel.
    pub(super) waiting: VecDeque<(&'static str, Bytes)>,
    /// Of the reliable ones among them.
    pub(super) waiting_bytes: usize,
    /// Highest sequence number of its own reliable packets.
    pub(super) last_sequence: u32,
    /// Data tracks of others.
    pub(super) tracks: DataSubscriptions,
    pub(super) blobs: HashMap<BlobKey, Vec<u8>>,
}

impl MemberData {
    /// Keeps a message until the channels are open: reliable ones while there is room for them, of
    /// lossy ones the newest.
    pub(super) fn keep(&mut self, label: &'static str, payload: Bytes) {
        if label == LOSSY {
            self.waiting.push_back((label, payload));
            self.forget_old_lossy();
        } else if self.waiting_bytes + payload.len() <= WAITING_BYTES_MAX {
            self.waiting_bytes += payload.len();
            self.waiting.push_back((label, payload));
        }
    }

    fn forget_old_lossy(&mut self) {
        let (mut newer, mut bytes) = (0, 0);
        for at in (0..self.waiting.len()).rev() {
            let (label, payload) = &self.waiting[at];
            if *label != LOSSY {
                continue;
            }
            newer += 1;
            bytes += payload.len();
            if newer > WAITING_LOSSY_MAX || bytes > WAITING_LOSSY_BYTES_MAX {
                self.waiting.remove(at);
            }
        }
    }
}

impl Member {
    pub(super) fn identity(&self) -> &str {
        &self.info.identity
    }

    pub(super) fn state(&self) -> State {
        self.info.state()
    }

    pub(super) fn protocol(&self) -> i32 {
        self.client.protocol
    }

    pub(super) fn permission(&self) -> &proto::ParticipantPermission {
        const NOTHING: &proto::ParticipantPermission = &proto::ParticipantPermission {
            can_subscribe: false,
            can_publish: false,
            can_publish_data: false,
            can_publish_sources: Vec::new(),
            hidden: false,
            #[allow(deprecated)]
            recorder: false,
            can_update_metadata: false,
            #[allow(deprecated)]
            agent: false,
            can_subscribe_metrics: false,
            can_manage_agent_session: false,
        };
        self.info.permission.as_ref().unwrap_or(NOTHING)
    }

    pub(super) fn is_hidden(&self) -> bool {
        self.permission().hidden
    }

    #[allow(deprecated)]
    pub(super) fn is_recorder(&self) -> bool {
        self.permission().recorder || self.info.kind() == Kind::Egress
    }

    #[allow(deprecated)]
    pub(super) fn is_agent(&self) -> bool {
        self.permission().agent || self.info.kind() == Kind::Agent
    }

    /// Not counted, and no reason to keep a room: it is here because of others.
    pub(super) fn is_dependent(&self) -> bool {
        self.is_agent() || self.is_recorder()
    }

    /// Whether this client can decode `track_subscribed` and `request_response`: the Rust SDK with
    /// a protocol below 10 stops at messages it does not know (`rtc/clientinfo.go`).
    pub(super) fn reads_request_response(&self) -> bool {
        quirks::knows_late_messages(&self.client)
    }

    /// When its timers have to be looked at.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let own = [Some(self.refresh_at), self.join_deadline, self.close_at];
        own.into_iter()
            .chain([self.media.deadline()])
            .flatten()
            .min()
    }

    /// What its data tracks weigh in every update about it.
    pub(super) fn data_tracks_bytes(&self) -> usize {
        let infos = self.info.data_tracks.iter();
        infos.map(prost::Message::encoded_len).sum()
    }

    /// Something others see has changed.
    pub(super) fn touch(&mut self) {
        self.info.tracks = self.tracks.iter().map(|t| (*t.info).clone()).collect();
        self.info.version = self.info.version.wrapping_add(1);
    }
}
