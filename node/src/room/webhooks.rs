//! Events of the room for the app's backend. Delivery, signatures and retries are the outbox's.

use protocol::ids::WebhookEventId;
use protocol::proto;

use super::Room;
use super::contract::RoomOutput;

impl Room {
    /// An event with the full room.
    pub(super) fn webhook(&mut self, event: &str, fill: impl FnOnce(&mut proto::WebhookEvent)) {
        if self.fenced {
            return;
        }
        let mut webhook = proto::WebhookEvent {
            event: event.to_owned(),
            room: Some(self.room_info()),
            id: WebhookEventId::random(&mut self.rng).0,
            created_at: self.unix_ms() / 1000,
            ..Default::default()
        };
        fill(&mut webhook);
        self.outputs
            .push_back(RoomOutput::Webhook(Box::new(webhook)));
    }

    pub(super) fn webhook_about(&mut self, event: &str, number: u16) {
        if let Some(member) = self.roster.get(number) {
            let info = member.info.clone();
            self.webhook(event, |webhook| webhook.participant = Some(info));
        }
    }

    /// Track events name room and participant only, unless the configuration wants the full room.
    pub(super) fn webhook_about_track(
        &mut self,
        event: &str,
        number: u16,
        track: &proto::TrackInfo,
    ) {
        let Some(member) = self.roster.get(number) else {
            return;
        };
        let participant = proto::ParticipantInfo {
            sid: member.sid.0.clone(),
            identity: member.identity().to_owned(),
            ..Default::default()
        };
        let full_room = self.services.config.enable_full_room_in_webhooks;
        self.webhook(event, |webhook| {
            webhook.participant = Some(participant);
            webhook.track = Some(track.clone());
            if !full_room && let Some(room) = webhook.room.take() {
                webhook.room = Some(proto::Room {
                    sid: room.sid,
                    name: room.name,
                    ..Default::default()
                });
            }
        });
    }
}
