//! A participant as a record and back.

use std::time::Instant;

use protocol::grants::Claims;
use protocol::ids::ParticipantSid;
use protocol::proto;

use super::records::{MemberRecord, facts};
use super::{WarmTransports, thaw_kind};
use crate::participant::image::{MediaImage, ThawKind};
use crate::participant::{KeySpace, WallClock};
use crate::room::Room;
use crate::room::fallback::Failures;
use crate::room::ice_preference::IcePreference;
use crate::room::joining::SessionFacts;
use crate::room::limits::RETURN_TIMEOUT;
use crate::room::member::{Member, MemberData};
use crate::room::permissions::Allowed;
use crate::worker::steering;

impl Room {
    pub(super) fn member_record(&self, member: &Member, clock: &WallClock) -> MemberRecord {
        let micros = |at: Option<Instant>| at.map(|at| clock.unix_micros_of(at));
        let as_info = claims_as_info(&member.claims, &member.info);
        let bits = [
            (member.single_peer_connection, facts::SINGLE),
            (member.one_shot, facts::ONE_SHOT),
            (member.was_active, facts::WAS_ACTIVE),
            (member.has_published, facts::HAS_PUBLISHED),
            (member.token_cut, facts::TOKEN_CUT),
            (member.allow.is_some(), facts::RESTRICTS),
            (as_info, facts::CLAIMS_AS_INFO),
        ];
        let set = bits.iter().filter(|(set, _)| *set);
        let shard = self.span.shard(member.number);
        MemberRecord {
            info: Some(proto::ParticipantInfo {
                tracks: Vec::new(),
                ..member.info.clone()
            }),
            claims_json: claims_json(&member.claims, as_info),
            client: Some(member.client.clone()),
            facts: set.fold(0, |all, (_, bit)| all | bit),
            refresh_at: clock.unix_micros_of(member.refresh_at),
            join_deadline: micros(member.join_deadline),
            absent_since: micros(member.absent_since),
            deferred_at: micros(self.updates.deferred_at(member.identity())),
            allowed: member
                .allow
                .as_ref()
                .map_or_else(Vec::new, Allowed::entries),
            ice_preference: match self.ice_preferences.peek(self.now, member.identity()) {
                None => 0,
                Some(IcePreference::Tcp) => 1,
                Some(IcePreference::Tls) => 2,
            },
            data: Some(member.data.image()),
            media: member.media.image(clock),
            shard: u32::try_from(shard).unwrap_or_default(),
        }
    }

    /// Puts a participant back, without its session. What its media says waits to be heard.
    pub(super) fn thaw_member(
        &mut self,
        number: u16,
        mut record: MemberRecord,
        warm: &WarmTransports,
    ) {
        let kind = thaw_kind(&record, warm);
        let (Some(info), Some(media)) = (record.info.take(), record.media.take()) else {
            return;
        };
        let claims = claims(&record, &info);
        let preference = match record.ice_preference {
            1 => Some(IcePreference::Tcp),
            2 => Some(IcePreference::Tls),
            _ => None,
        };
        if preference.is_some() {
            self.ice_preferences
                .set(self.now, &info.identity, preference);
        }
        let shards = self.services.shards.count().max(1);
        let named = media.ufrag_prefix().and_then(steering::shard_of_prefix);
        let shard = named.unwrap_or(record.shard as usize) % shards;
        self.span.seat(number, shard);
        let client = record.client.clone().unwrap_or_default();
        // The image has the rest.
        let facts = SessionFacts {
            client: client.clone(),
            single_peer_connection: record.facts & facts::SINGLE != 0,
            auto_subscribe: false,
            adaptive_stream: false,
            subscriber_allow_pause: None,
        };
        let settings = self.participant_settings(&info, facts);
        let keys = KeySpace::new(self.number, number).allocator_after(media.keys);
        let environment = self.environment_on(shard, &info.identity, keys);
        let image = MediaImage {
            record: media,
            kind,
            now: self.now,
            clock: self.clock,
        };
        let media = (self.services.media)(settings, environment, Some(image));
        let mut member = self.member(number, info, claims, client, media, &record);
        if kind == ThawKind::Warm {
            member.transport_failed = false;
            member.cold = false;
            member.data.resyncs = false;
            member.close_at = None;
        }
        self.roster.insert(member);
    }

    fn member(
        &self,
        number: u16,
        mut info: proto::ParticipantInfo,
        claims: Claims,
        client: proto::ClientInfo,
        media: Box<dyn crate::room::MediaCore>,
        record: &MemberRecord,
    ) -> Member {
        let has = |bit: u32| record.facts & bit != 0;
        let instant = |micros: i64| self.clock.instant_of(micros);
        let tracks = media.published();
        info.tracks = tracks.iter().map(|track| (*track.info).clone()).collect();
        Member {
            number,
            sid: ParticipantSid(info.sid.clone()),
            claims,
            client,
            single_peer_connection: has(facts::SINGLE),
            session: None,
            one_shot: has(facts::ONE_SHOT),
            media,
            info,
            tracks,
            allow: has(facts::RESTRICTS).then(|| Allowed::new(record.allowed.clone())),
            data: MemberData::thaw(record.data.clone().unwrap_or_default()),
            scores: Default::default(),
            transport_failed: true,
            cold: true,
            speakers_unknown: true,
            failures: Failures::default(),
            was_active: has(facts::WAS_ACTIVE),
            has_published: has(facts::HAS_PUBLISHED),
            closing: false,
            drop_on_resume: None,
            token_cut: has(facts::TOKEN_CUT),
            refresh_at: instant(record.refresh_at),
            asked: None,
            join_deadline: record.join_deadline.map(instant),
            close_at: Some(self.now + RETURN_TIMEOUT),
            absent_since: Some(record.absent_since.map_or(self.now, instant)),
        }
    }
}

fn claims_as_info(claims: &Claims, info: &proto::ParticipantInfo) -> bool {
    let attributes = &info.attributes;
    claims.name == info.name
        && claims.metadata == info.metadata
        && claims.attributes.len() == attributes.len()
        && claims
            .attributes
            .iter()
            .all(|(key, value)| attributes.get(key) == Some(value))
}

fn claims_json(claims: &Claims, as_info: bool) -> Vec<u8> {
    let mut claims = claims.clone();
    if as_info {
        claims.name.clear();
        claims.metadata.clear();
        claims.attributes.clear();
    }
    // They came from JSON: writing them back cannot fail.
    serde_json::to_vec(&claims).unwrap_or_default()
}

fn claims(record: &MemberRecord, info: &proto::ParticipantInfo) -> Claims {
    let mut claims: Claims = serde_json::from_slice(&record.claims_json).unwrap_or_default();
    if record.facts & facts::CLAIMS_AS_INFO != 0 {
        claims.name.clone_from(&info.name);
        claims.metadata.clone_from(&info.metadata);
        claims.attributes = info.attributes.clone().into_iter().collect();
    }
    claims
}
