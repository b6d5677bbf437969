//! A client wants in: limits, the identity's older session, the JoinResponse, and what follows it.

use std::sync::Arc;
use std::time::Instant;

use media::types::Protocol;
use protocol::grants::Claims;
use protocol::ids::ParticipantSid;
use protocol::proto;
use protocol::proto::DisconnectReason;
use protocol::proto::leave_request::Action;
use protocol::proto::participant_info::State;
use protocol::proto::signal_response::Message;
use rand::RngExt;

use super::contract::{Attach, AttachError, AttachKind, RoomOutput, SessionId};
use super::data::DataSubscriptions;
use super::fallback::Failures;
use super::ice_preference::IcePreference;
use super::limits::{JOIN_TIMEOUT, REFRESHED_TOKEN_BYTES_MAX, TOKEN_REFRESH_INTERVAL};
use super::member::{Member, MemberData};
use super::span::Full;
use super::updates::Audience;
use super::{Room, options, permissions};
use crate::participant::{Environment, KeyAllocator, KeySpace, MediaInput, ParticipantSettings};

/// What a client said of itself when it joined.
pub(super) struct SessionFacts {
    pub(super) client: proto::ClientInfo,
    pub(super) single_peer_connection: bool,
    pub(super) auto_subscribe: bool,
    pub(super) adaptive_stream: bool,
    /// `None` = as configured.
    pub(super) subscriber_allow_pause: Option<bool>,
}

impl Room {
    pub(super) fn attach(&mut self, attach: Attach) {
        match &attach.kind {
            AttachKind::Resume { .. } => return self.resume(&attach),
            AttachKind::Rebind {
                participant_sid,
                missed,
            } => return self.rebind(&attach, participant_sid, *missed),
            AttachKind::Join | AttachKind::OneShot => {}
        }
        let (session, offer, tracks) = (
            attach.session,
            attach.publisher_offer.clone(),
            attach.add_tracks.clone(),
        );
        match self.admit(attach) {
            Ok(number) => self.welcome(number, offer, tracks),
            Err(error) => self.refuse(session, error),
        }
    }

    fn refuse(&mut self, session: SessionId, error: AttachError) {
        self.outputs
            .push_back(RoomOutput::Refused { session, error });
    }

    /// Checks and makes the participant; an older session of its identity ends.
    fn admit(&mut self, attach: Attach) -> Result<u16, AttachError> {
        if let Some(older) = self.roster.of_identity(&attach.claims.identity) {
            self.fallback_wanted(older);
        }
        let number = self.roster.reserve().ok_or(AttachError::NodeFull)?;
        let admitted = self.admit_as(number, attach);
        if admitted.is_err() {
            self.span.forget(number);
        }
        admitted
    }

    fn admit_as(&mut self, number: u16, attach: Attach) -> Result<u16, AttachError> {
        let asked = attach.asked;
        let member = self.new_member(number, attach)?;
        let same = self.roster.of_identity(member.identity());
        let replaces = same.and_then(|number| self.roster.get(number));
        if replaces.is_some_and(|other| other.asked.is_some_and(|later| later > asked)) {
            return Err(AttachError::ClosedByMedia);
        }
        let max = self.facts.room.max_participants as usize;
        let others = self.roster.independent()
            - usize::from(replaces.is_some_and(|older| !older.is_dependent()));
        if max > 0 && others >= max && !member.is_dependent() {
            return Err(AttachError::ClosedByMedia);
        }
        if let Some(older) = same {
            self.close_member(
                older,
                DisconnectReason::DuplicateIdentity,
                Some(Action::Disconnect),
            );
        }
        let number = member.number;
        self.roster.insert(member);
        self.lifecycle.observe(self.now, self.roster.independent());
        self.weigh_regression();
        Ok(number)
    }

    fn new_member(&mut self, number: u16, mut attach: Attach) -> Result<Member, AttachError> {
        let mut claims = std::mem::take(&mut attach.claims);
        for (key, value) in std::mem::take(&mut attach.attributes) {
            if value.is_empty() {
                claims.attributes.remove(&key);
            } else {
                claims.attributes.insert(key, value);
            }
        }
        self.restore_cut_claims(&mut claims);
        if !self.fits(&claims) {
            return Err(AttachError::ClosedByMedia);
        }
        let sid = ParticipantSid::random(&mut self.rng);
        let info = self.joining_info(&sid, &claims, &attach.client);
        let facts = SessionFacts {
            client: attach.client.clone(),
            single_peer_connection: attach.single_peer_connection,
            auto_subscribe: attach.auto_subscribe,
            adaptive_stream: attach.adaptive_stream,
            subscriber_allow_pause: attach.subscriber_allow_pause,
        };
        let settings = self.participant_settings(&info, facts);
        let environment = self.environment(number, &info.identity);
        let media = (self.services.media)(settings, environment, None);
        let data = MemberData {
            tracks: DataSubscriptions::new(attach.auto_subscribe_data_track, self.rng.random()),
            ..Default::default()
        };
        Ok(Member {
            number,
            sid,
            claims,
            client: attach.client,
            single_peer_connection: attach.single_peer_connection,
            session: Some(attach.session),
            one_shot: attach.kind == AttachKind::OneShot,
            media,
            info,
            tracks: Vec::new(),
            allow: None,
            data,
            scores: Default::default(),
            transport_failed: false,
            cold: false,
            speakers_unknown: false,
            failures: Failures::default(),
            was_active: false,
            has_published: false,
            closing: false,
            drop_on_resume: None,
            token_cut: false,
            refresh_at: self.now + TOKEN_REFRESH_INTERVAL,
            asked: Some(attach.asked),
            join_deadline: Some(self.now + JOIN_TIMEOUT),
            close_at: None,
            absent_since: None,
        })
    }

    /// What others see of a participant that joins.
    fn joining_info(
        &self,
        sid: &ParticipantSid,
        claims: &Claims,
        client: &proto::ClientInfo,
    ) -> proto::ParticipantInfo {
        let joined_ms = self.clock.unix_micros_at(self.now) / 1000;
        proto::ParticipantInfo {
            sid: sid.0.clone(),
            identity: claims.identity.clone(),
            name: claims.name.clone(),
            metadata: claims.metadata.clone(),
            attributes: claims.attributes.clone().into_iter().collect(),
            state: State::Joining.into(),
            joined_at: joined_ms / 1000,
            joined_at_ms: joined_ms,
            permission: Some(permissions::from_claims(claims)),
            region: self.services.config.region.clone(),
            kind: permissions::kind(&claims.kind).into(),
            kind_details: claims
                .kind_details
                .iter()
                .filter_map(|detail| permissions::kind_detail(detail))
                .collect(),
            client_protocol: client.client_protocol,
            capabilities: client.capabilities.clone(),
            ..Default::default()
        }
    }

    /// A client that starts over with a token of ours brings back what that token had no room for.
    fn restore_cut_claims(&self, claims: &mut Claims) {
        let older = self.roster.of_identity(&claims.identity);
        let Some(older) = older.and_then(|number| self.roster.get(number)) else {
            return;
        };
        if !older.token_cut || !claims.metadata.is_empty() {
            return;
        }
        claims.metadata.clone_from(&older.claims.metadata);
        if claims.attributes.is_empty() {
            claims.attributes.clone_from(&older.claims.attributes);
        }
    }

    /// Whether what the token says about the participant is within the limits.
    fn fits(&self, claims: &Claims) -> bool {
        let config = &self.services.config;
        let within = |size: usize, max: usize| max == 0 || size <= max;
        let attributes = options::attributes_bytes(claims.attributes.iter());
        within(claims.metadata.len(), config.max_metadata_bytes)
            && within(claims.name.len(), config.max_name_bytes)
            && within(attributes, config.max_attributes_bytes)
    }

    pub(super) fn participant_settings(
        &mut self,
        info: &proto::ParticipantInfo,
        facts: SessionFacts,
    ) -> ParticipantSettings {
        let config = &self.services.config;
        ParticipantSettings {
            sid: ParticipantSid(info.sid.clone()),
            identity: info.identity.clone(),
            client: facts.client,
            single_peer_connection: facts.single_peer_connection,
            auto_subscribe: facts.auto_subscribe,
            adaptive_stream: facts.adaptive_stream,
            congestion_control: config.congestion_control,
            allow_pause: facts.subscriber_allow_pause.unwrap_or(config.allow_pause),
            permission: info.permission.clone().unwrap_or_default(),
            enabled_codecs: self.facts.room.enabled_codecs.clone(),
            sif_trailer: self.facts.sif_trailer.clone(),
            sync_streams: self.facts.sync_streams,
            playout_delay: self.facts.playout_delay,
            dynacast_pause_delay: config.dynacast_pause_delay,
            build_red: config.active_red_encoding,
            prefers_regression: self.facts.prefers_regression,
            subscription_limit_video: config.subscription_limit_video,
            subscription_limit_audio: config.subscription_limit_audio,
            seed: self.rng.random(),
        }
    }

    fn environment(&mut self, number: u16, identity: &str) -> Environment {
        let shards = &self.services.shards;
        let bound = |most: u32| (most > 0).then_some(most as usize);
        let full = Full {
            shard: bound(self.services.config.shard_participants),
            node: bound(self.services.config.node_participants),
        };
        let far = match full.node {
            Some(_) => shards.far(),
            None => Vec::new(),
        };
        let near = shards.busy_permille();
        let shard = self.span.place(number, full, &near, &far);
        let keys = KeySpace::new(self.number, number).allocator();
        self.environment_on(shard, identity, keys)
    }

    pub(super) fn environment_on(
        &mut self,
        shard: usize,
        identity: &str,
        keys: KeyAllocator,
    ) -> Environment {
        let endpoint = self.services.shards.endpoint(shard);
        let candidates = match self.ice_preferences.get(self.now, identity) {
            Some(IcePreference::Tcp) => {
                let all = endpoint.candidates.iter();
                let wanted: Arc<[_]> = all
                    .filter(|one| one.protocol == Protocol::Tcp)
                    .cloned()
                    .collect();
                // This node may have no port for it: better something than nothing.
                if wanted.is_empty() {
                    endpoint.candidates
                } else {
                    wanted
                }
            }
            // A TURN server reaches the same ports over UDP.
            None | Some(IcePreference::Tls) => endpoint.candidates,
        };
        Environment {
            room: KeySpace::new(self.number, 0).room,
            candidates,
            fingerprint: endpoint.fingerprint,
            spare: endpoint.spare,
            ufrag_prefix: endpoint.ufrag_prefix,
            keys,
            clock: self.clock,
        }
    }

    /// JoinResponse first, then the token, then everything that makes media flow.
    fn welcome(
        &mut self,
        number: u16,
        offer: Option<proto::SessionDescription>,
        tracks: Vec<proto::AddTrackRequest>,
    ) {
        let Some(member) = self.roster.get(number) else {
            return;
        };
        let response = self.join_response(member);
        self.tell(number, Message::Join(response));
        self.refresh_token(number);
        if let Some(member) = self.roster.get_mut(number) {
            member.info.set_state(State::Joined);
        }
        self.announce(number, Audience::Others);
        self.room_changed();
        self.offer_sources_to(number);
        self.feed(number, MediaInput::Joined);
        for track in tracks {
            self.feed(number, MediaInput::AddTrack(track));
        }
        if let Some(offer) = offer {
            self.feed(number, MediaInput::Offer(offer));
        }
        self.sync_data_subscriptions(number);
    }

    /// The primary connection is up for the first time.
    pub(super) fn became_active(&mut self, number: u16) {
        let Some(member) = self.roster.get_mut(number) else {
            return;
        };
        member.join_deadline = None;
        if member.was_active {
            return;
        }
        member.was_active = true;
        member.info.set_state(State::Active);
        self.quality.resume(self.now);
        self.announce(number, Audience::Everybody);
        self.webhook_about("participant_joined", number);
        self.launch_participant_jobs(number);
    }

    /// A fresh token with the claims as they are now; clients reconnect with it.
    pub(super) fn refresh_token(&mut self, number: u16) {
        let next: Instant = self.now + TOKEN_REFRESH_INTERVAL;
        let now_s = self.unix_ms() / 1000;
        let Some(member) = self.roster.get_mut(number) else {
            return;
        };
        member.refresh_at = next;
        let keys = &self.services.keys;
        let mut token = protocol::token::refresh(keys, &member.claims, now_s);
        // Browsers can send a token in a URL only: what does not fit stays here.
        let long = |token: &Result<String, _>| {
            token
                .as_ref()
                .is_ok_and(|token: &String| token.len() > REFRESHED_TOKEN_BYTES_MAX)
        };
        member.token_cut = long(&token);
        if member.token_cut {
            let mut claims = member.claims.clone();
            claims.metadata.clear();
            token = protocol::token::refresh(keys, &claims, now_s);
            if long(&token) {
                claims.attributes.clear();
                token = protocol::token::refresh(keys, &claims, now_s);
            }
        }
        match token {
            Ok(token) => self.tell(number, Message::RefreshToken(token)),
            Err(error) => tracing::warn!(%error, "cannot refresh a token"),
        }
    }
}
