//! Name, metadata, attributes and permission of a participant: changed by itself or by the server
//! API, told to everybody, written into its next token.

use std::collections::HashMap;

use protocol::proto;
use protocol::proto::request_response::{Reason, Request};

use super::contract::RoomError;
use super::options::{attributes_bytes, exceeds};
use super::updates::{Audience, update};
use super::{Room, permissions};
use crate::participant::MediaInput;

impl Room {
    /// `update_metadata` of a client.
    pub(super) fn update_own_metadata(
        &mut self,
        number: u16,
        request: proto::UpdateParticipantMetadata,
    ) {
        let Some(member) = self.roster.get(number) else {
            return;
        };
        let id = request.request_id;
        let echo = Some(Request::UpdateMetadata(request.clone()));
        if !member.permission().can_update_metadata {
            let message = "does not have permission to update own metadata";
            self.respond(number, id, Reason::NotAllowed, message, echo);
            return;
        }
        let checked = self.check_limits(
            number,
            &request.name,
            &request.metadata,
            &request.attributes,
        );
        if let Err(error) = checked {
            self.respond(number, id, Reason::LimitExceeded, &error.to_string(), echo);
            return;
        }
        self.set_metadata(number, request.name, request.metadata, request.attributes);
        self.respond(number, id, Reason::Ok, "", echo);
    }

    /// Limits of `limit.*`; attributes are measured as they would be afterwards.
    pub(super) fn check_limits(
        &self,
        number: u16,
        name: &str,
        metadata: &str,
        attributes: &HashMap<String, String>,
    ) -> Result<(), RoomError> {
        let config = &self.services.config;
        exceeds("name length", name.len(), config.max_name_bytes)?;
        exceeds("metadata size", metadata.len(), config.max_metadata_bytes)?;
        let kept = self.roster.get(number).into_iter().flat_map(|member| {
            member
                .info
                .attributes
                .iter()
                .filter(|(key, _)| !attributes.contains_key(*key))
        });
        let new = attributes.iter().filter(|(_, value)| !value.is_empty());
        let bytes = attributes_bytes(kept.chain(new));
        exceeds("attributes size", bytes, config.max_attributes_bytes)
    }

    /// Each of the three is a change of its own, with its own version and token, as in 1.13.5.
    /// Empty = unchanged; an empty attribute = deleted.
    pub(super) fn set_metadata(
        &mut self,
        number: u16,
        name: String,
        metadata: String,
        attributes: HashMap<String, String>,
    ) {
        if !name.is_empty()
            && let Some(member) = self.roster.get_mut(number)
        {
            member.info.name.clone_from(&name);
            member.claims.name = name;
            self.claims_changed(number);
        }
        if !metadata.is_empty()
            && let Some(member) = self.roster.get_mut(number)
        {
            member.info.metadata.clone_from(&metadata);
            member.claims.metadata = metadata;
            self.claims_changed(number);
        }
        if !attributes.is_empty()
            && let Some(member) = self.roster.get_mut(number)
        {
            for (key, value) in attributes {
                if value.is_empty() {
                    member.info.attributes.remove(&key);
                } else {
                    member.info.attributes.insert(key, value);
                }
            }
            member.claims.attributes = member.info.attributes.clone().into_iter().collect();
            self.claims_changed(number);
        }
    }

    fn claims_changed(&mut self, number: u16) {
        self.announce(number, Audience::EverybodyNow);
        self.refresh_token(number);
    }

    /// Replaces the whole permission: what is not set is revoked.
    pub(super) fn set_permission(&mut self, number: u16, wanted: proto::ParticipantPermission) {
        let Some(member) = self.roster.get_mut(number) else {
            return;
        };
        if member.permission() == &wanted {
            return;
        }
        let was_hidden = member.is_hidden();
        permissions::into_claims(&wanted, &mut member.claims);
        member.info.permission = Some(wanted.clone());
        let revoked_data = !wanted.can_publish_data;
        if wanted.hidden && !was_hidden {
            self.vanish(number);
        }
        self.claims_changed(number);
        self.feed(number, MediaInput::Permission(wanted));
        // It may have become a recorder or an agent, or be none any more: those keep no room.
        self.lifecycle.observe(self.now, self.roster.independent());
        if revoked_data {
            self.unpublish_data_tracks(number);
        }
        self.sync_data_subscriptions(number);
        self.room_changed();
    }

    /// Others see a participant that becomes hidden as gone.
    fn vanish(&mut self, number: u16) {
        let Some(member) = self.roster.get(number) else {
            return;
        };
        let mut info = member.info.clone();
        info.set_state(proto::participant_info::State::Disconnected);
        info.tracks.clear();
        self.updates.withdraw(&info.identity);
        for other in self.roster.numbers() {
            if other != number {
                self.tell(other, update(vec![info.clone()]));
            }
        }
    }
}
