//! The body of a webhook: protojson as LiveKit's notifier writes it, camelCase without defaults
//! (the server API's JSON follows other rules, see `json`). Signing and sending are not done here.

use crate::proto::WebhookEvent;

/// The exact bytes to sign and send.
pub fn body(event: &WebhookEvent) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(event)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::proto;

    #[test]
    fn bodies_are_camel_case_without_defaults_and_with_long_numbers_as_text() {
        let event = WebhookEvent {
            event: "room_started".into(),
            id: "EV_1".into(),
            created_at: 1_700_000_000,
            room: Some(proto::Room {
                name: "r".into(),
                empty_timeout: 300,
                creation_time: 1_700_000_000,
                ..Default::default()
            }),
            ..Default::default()
        };
        let json: serde_json::Value = serde_json::from_slice(&body(&event).unwrap()).unwrap();
        let expected = serde_json::json!({
            "event": "room_started", "id": "EV_1", "createdAt": "1700000000",
            "room": {"name": "r", "emptyTimeout": 300, "creationTime": "1700000000"},
        });
        assert_eq!(json, expected);
    }
}
