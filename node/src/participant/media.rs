//! `ParticipantMedia`: the core the room drives for each participant. Routes inputs to connections,
//! publications and subscriptions; decides nothing itself that concerns only one of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use protocol::ids::{ParticipantSid, TrackSid};
use protocol::proto;

use super::contract::{Environment, MediaInput, MediaOutput, ParticipantSettings, Published};
use super::quirks;

/// One participant's media. Created with the participant, fed until `MediaInput::Close`.
#[derive(Debug)]
pub struct ParticipantMedia {
    settings: ParticipantSettings,
    environment: Environment,
    outputs: VecDeque<MediaOutput>,
}

impl ParticipantMedia {
    pub fn new(settings: ParticipantSettings, environment: Environment) -> Self {
        Self {
            settings,
            environment,
            outputs: VecDeque::new(),
        }
    }

    pub fn handle(&mut self, now: Instant, input: MediaInput) {
        let _ = (now, input, &self.environment);
    }

    /// Drained after every `handle`.
    pub fn poll(&mut self) -> Option<MediaOutput> {
        self.outputs.pop_front()
    }

    /// When to call `handle(now, MediaInput::Timeout)`.
    pub fn deadline(&self) -> Option<Instant> {
        None
    }

    /// What is published now, in the order it was: `ParticipantInfo.tracks` and the sources of
    /// everybody who joins later.
    pub fn published(&self) -> Vec<Published> {
        Vec::new()
    }

    /// The current TrackInfo of a published or a pending track.
    pub fn track(&self, sid: &TrackSid) -> Option<Arc<proto::TrackInfo>> {
        let _ = sid;
        None
    }

    /// Tracks this participant receives now (bound ones).
    pub fn subscribed_tracks(&self) -> Vec<TrackSid> {
        Vec::new()
    }

    /// Receives at least one track of that publisher: speaker and quality updates go to it.
    pub fn subscribes_to(&self, publisher: &ParticipantSid) -> bool {
        let _ = publisher;
        false
    }

    /// The event is about a transport, a track or a down track of this participant.
    pub fn concerns(&self, event: &media::Event) -> bool {
        let _ = event;
        false
    }

    /// `JoinResponse.subscriber_primary`: `/rtc` with the right to subscribe.
    pub fn subscriber_primary(&self) -> bool {
        quirks::subscriber_primary(&self.settings)
    }

    pub fn permission(&self) -> &proto::ParticipantPermission {
        &self.settings.permission
    }
}
