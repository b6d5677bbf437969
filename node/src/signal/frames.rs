//! One data frame of the signalling WebSocket: protobuf in binary frames, protojson in text frames.
//! A client is answered in the kind it spoke last. Pure.

use actix_web::web::Bytes;
use prost::Message;
use protocol::proto;

/// The kind of a data frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Binary,
    Json,
}

/// A whole message, as it came or shall go over the WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DataFrame {
    Binary(Bytes),
    Text(String),
}

impl DataFrame {
    pub(super) fn encoding(&self) -> Encoding {
        match self {
            Self::Binary(_) => Encoding::Binary,
            Self::Text(_) => Encoding::Json,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Binary(bytes) => bytes.len(),
            Self::Text(text) => text.len(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("cannot decode protobuf: {0}")]
    Protobuf(#[from] prost::DecodeError),
    #[error("cannot decode JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// `None`: a request this server does not know, which is no reason to end a session.
pub(super) fn decode(
    frame: &DataFrame,
) -> Result<Option<proto::signal_request::Message>, FrameError> {
    let request = match frame {
        DataFrame::Binary(bytes) => proto::SignalRequest::decode(bytes.as_ref())?,
        DataFrame::Text(text) => serde_json::from_str(text)?,
    };
    Ok(request.message)
}

pub(super) fn encode(
    response: &proto::SignalResponse,
    encoding: Encoding,
) -> Result<DataFrame, FrameError> {
    Ok(match encoding {
        Encoding::Binary => DataFrame::Binary(response.encode_to_vec().into()),
        Encoding::Json => DataFrame::Text(serde_json::to_string(response)?),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proto::signal_request::Message as Request;
    use proto::signal_response::Message as Response;

    use super::*;

    fn text(json: &str) -> Option<Request> {
        decode(&DataFrame::Text(json.into())).unwrap()
    }

    #[test]
    fn json_takes_both_spellings_and_64_bit_numbers_as_text() {
        for json in [
            r#"{"pingReq": {"timestamp": "13", "rtt": 2}}"#,
            r#"{"ping_req": {"timestamp": 13, "rtt": "2"}}"#,
        ] {
            let ping = proto::Ping {
                timestamp: 13,
                rtt: 2,
            };
            assert_eq!(text(json), Some(Request::PingReq(ping)));
        }
        assert_eq!(text(r#"{"ping": "5"}"#), Some(Request::Ping(5)));
    }

    #[test]
    fn json_answers_are_protojson() {
        let response = proto::SignalResponse {
            message: Some(Response::PongResp(proto::Pong {
                last_ping_timestamp: 12,
                timestamp: 34,
            })),
        };
        let DataFrame::Text(json) = encode(&response, Encoding::Json).unwrap() else {
            unreachable!("JSON goes in a text frame");
        };
        let expected = r#"{"pongResp":{"lastPingTimestamp":"12","timestamp":"34"}}"#;
        assert_eq!(json, expected);
        let leave = proto::SignalResponse {
            message: Some(Response::Leave(proto::LeaveRequest {
                reason: proto::DisconnectReason::DuplicateIdentity as i32,
                action: proto::leave_request::Action::Reconnect as i32,
                ..Default::default()
            })),
        };
        let DataFrame::Text(json) = encode(&leave, Encoding::Json).unwrap() else {
            unreachable!("JSON goes in a text frame");
        };
        assert_eq!(
            json,
            r#"{"leave":{"reason":"DUPLICATE_IDENTITY","action":"RECONNECT"}}"#
        );
    }

    #[test]
    fn unknown_and_empty_requests_are_no_error() {
        assert_eq!(decode(&DataFrame::Binary(Bytes::new())).unwrap(), None);
        let unknown = Bytes::from_static(&[0xFA, 0x3E, 0x02, 0x08, 0x01]);
        assert_eq!(decode(&DataFrame::Binary(unknown)).unwrap(), None);
        assert_eq!(text(r#"{"notAMessage": {"x": 1}}"#), None);
        assert_eq!(text("{}"), None);
    }

    #[test]
    fn garbage_is_an_error() {
        let garbage = Bytes::from_static(&[0xFF; 4]);
        assert!(decode(&DataFrame::Binary(garbage)).is_err());
        assert!(decode(&DataFrame::Text("not json".into())).is_err());
    }
}
