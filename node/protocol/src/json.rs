//! JSON as LiveKit's server API speaks it: answers under proto (snake_case) names with defaults,
//! requests under either spelling. Works on encoded protobuf, by descriptor; knows no HTTP.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{
    Cardinality, DescriptorPool, DeserializeOptions, DynamicMessage, FieldDescriptor, Kind,
    MessageDescriptor, ReflectMessage, SerializeOptions, Value,
};
use serde_json::{Deserializer, Map};

/// Every message and service of the server API.
pub(crate) static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let set: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/livekit.bin"));
    // The set comes out of the compiler that checked it: an empty pool cannot happen, and would
    // make every route unknown.
    DescriptorPool::decode(set).unwrap_or_default()
});

/// Why a message cannot be read or written as JSON.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("protobuf: {0}")]
    Protobuf(#[from] prost::DecodeError),
    #[error("unknown message {0}")]
    UnknownMessage(String),
}

/// The JSON of a message, `full_name` as in `livekit.Room`.
pub fn to_json(full_name: &str, message: &impl Message) -> Result<serde_json::Value, JsonError> {
    let descriptor = POOL.get_message_by_name(full_name);
    let descriptor = descriptor.ok_or_else(|| JsonError::UnknownMessage(full_name.to_owned()))?;
    value(descriptor, &message.encode_to_vec())
}

/// The message a piece of JSON describes, such as the room configuration of a token.
pub fn from_json<M: Message + Default>(
    full_name: &str,
    json: &serde_json::Value,
) -> Result<M, JsonError> {
    let descriptor = POOL.get_message_by_name(full_name);
    let descriptor = descriptor.ok_or_else(|| JsonError::UnknownMessage(full_name.to_owned()))?;
    let encoded = parse(descriptor, json.to_string().as_bytes())?;
    Ok(M::decode(encoded.as_slice())?)
}

/// The JSON of an encoded message.
pub(crate) fn value(
    descriptor: MessageDescriptor,
    encoded: &[u8],
) -> Result<serde_json::Value, JsonError> {
    let message = DynamicMessage::decode(descriptor, encoded)?;
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .skip_default_fields(false);
    let mut json = message.serialize_with_options(serde_json::value::Serializer, &options)?;
    add_nulls(&message, &mut json);
    Ok(json)
}

/// Protobuf encoding of a JSON message; unknown fields are discarded.
pub(crate) fn parse(descriptor: MessageDescriptor, json: &[u8]) -> Result<Vec<u8>, JsonError> {
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let mut reader = Deserializer::from_slice(json);
    let message = DynamicMessage::deserialize_with_options(descriptor, &mut reader, &options)?;
    reader.end()?;
    Ok(message.encode_to_vec())
}

/// Go's protojson shows absent messages as `null` when it shows defaults; members of a oneof stay
/// out. Depth is bounded by the decoder's recursion limit.
fn add_nulls(message: &DynamicMessage, json: &mut serde_json::Value) {
    let descriptor = message.descriptor();
    if descriptor.full_name().starts_with("google.protobuf.") {
        return;
    }
    let Some(object) = json.as_object_mut() else {
        return;
    };
    for field in descriptor.fields() {
        if !matches!(field.kind(), Kind::Message(_)) {
            continue;
        }
        if field.is_list() || field.is_map() || message.has_field(&field) {
            add_nulls_below(message, &field, object);
        } else if field.cardinality() != Cardinality::Repeated && field.containing_oneof().is_none()
        {
            object.insert(field.name().to_owned(), serde_json::Value::Null);
        }
    }
}

fn add_nulls_below(
    message: &DynamicMessage,
    field: &FieldDescriptor,
    object: &mut Map<String, serde_json::Value>,
) {
    let Some(json) = object.get_mut(field.name()) else {
        return;
    };
    match message.get_field(field).as_ref() {
        Value::Message(inner) => add_nulls(inner, json),
        Value::List(items) => {
            let targets = json.as_array_mut().into_iter().flatten();
            for (item, target) in items.iter().zip(targets) {
                if let Value::Message(inner) = item {
                    add_nulls(inner, target);
                }
            }
        }
        Value::Map(entries) => {
            let Some(targets) = json.as_object_mut() else {
                return;
            };
            for (key, entry) in entries {
                // Maps of messages have string keys throughout LiveKit's protocol.
                if let (Some(key), Value::Message(inner)) = (key.as_str(), entry)
                    && let Some(target) = targets.get_mut(key)
                {
                    add_nulls(inner, target);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::proto;

    fn parsed<M: Message + Default>(name: &str, json: &str) -> Result<M, JsonError> {
        let bytes = parse(POOL.get_message_by_name(name).unwrap(), json.as_bytes())?;
        Ok(M::decode(bytes.as_slice()).unwrap())
    }

    #[test]
    fn answers_have_proto_names_defaults_and_nulls() {
        let room = proto::Room {
            name: "r".into(),
            creation_time: 1 << 40,
            enabled_codecs: vec![proto::Codec::default()],
            ..Default::default()
        };
        let json = to_json("livekit.Room", &room).unwrap();
        assert_eq!(json["creation_time"], json!("1099511627776"));
        assert_eq!(
            json["enabled_codecs"],
            json!([{"mime": "", "fmtp_line": ""}])
        );
        assert_eq!(json["active_recording"], json!(false));
        assert_eq!(json["version"], json!(null));
        assert!(json.as_object().unwrap().contains_key("version"));
    }

    #[test]
    fn enums_are_names_bytes_are_base64_and_empty_lists_stay() {
        let data = proto::SendDataRequest {
            data: b"hi".to_vec(),
            ..Default::default()
        };
        let json = to_json("livekit.SendDataRequest", &data).unwrap();
        assert_eq!(
            (&json["data"], &json["kind"]),
            (&json!("aGk="), &json!("RELIABLE"))
        );
        assert_eq!(json["destination_sids"], json!([]));
        let info = to_json(
            "livekit.ParticipantInfo",
            &proto::ParticipantInfo::default(),
        )
        .unwrap();
        assert_eq!(
            (&info["state"], &info["attributes"]),
            (&json!("JOINING"), &json!({}))
        );
        assert_eq!(info["permission"], json!(null));
    }

    #[test]
    fn nested_messages_get_their_nulls_too() {
        let rooms = proto::ListRoomsResponse {
            rooms: vec![proto::Room::default()],
        };
        let json = to_json("livekit.ListRoomsResponse", &rooms).unwrap();
        assert!(
            json["rooms"][0]
                .as_object()
                .unwrap()
                .contains_key("version")
        );
        let mute = to_json(
            "livekit.MuteRoomTrackResponse",
            &proto::MuteRoomTrackResponse { track: None },
        );
        assert_eq!(mute.unwrap(), json!({"track": null}));
    }

    #[test]
    fn requests_are_read_in_both_spellings_with_strings_nulls_and_unknown_fields() {
        for body in [
            r#"{"name": "r", "empty_timeout": 33, "x": {"y": [1]}}"#,
            r#"{"name": "r", "emptyTimeout": "33", "metadata": null}"#,
        ] {
            let request: proto::CreateRoomRequest =
                parsed("livekit.CreateRoomRequest", body).unwrap();
            assert_eq!(
                (request.name.as_str(), request.empty_timeout),
                ("r", 33),
                "{body}"
            );
        }
        let number: proto::SendDataRequest =
            parsed("livekit.SendDataRequest", r#"{"kind": 1, "data": "aGk="}"#).unwrap();
        assert_eq!((number.kind, number.data.as_slice()), (1, b"hi".as_slice()));
    }

    #[test]
    fn broken_json_and_wrong_types_are_refused() {
        for body in [
            "{",
            "",
            "[]",
            r#"{"names": 3}"#,
            r#"{"names": [3]}"#,
            "{} x",
        ] {
            let request = parsed::<proto::ListRoomsRequest>("livekit.ListRoomsRequest", body);
            assert!(request.is_err(), "{body}");
        }
    }
}
