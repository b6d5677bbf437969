//! A client's session between the gateway that has its WebSocket and the home of its room: frames
//! of a length, a kind and protobuf, the first of them with a version. Both sides of the stream use
//! it; what is not understood ends the stream. Golden bytes hold the format.

use std::io;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use consensus::ids::Epoch;
use futures_util::{Stream, StreamExt};
use prost::Message;
use protocol::proto;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::limits::{FRAME_BYTES_MAX, HELLO_TIMEOUT};
use crate::room::contract::{Attach, AttachError, AttachKind, SessionId};

/// Of the first frame. A home refuses a newer one, and the gateway tries to speak the older.
pub const VERSION: u8 = 1;

/// What the gateway says.
#[derive(Clone, Debug)]
pub enum ToHome {
    /// Always first.
    Hello {
        /// Since when the gateway knows the room to be there.
        epoch: Epoch,
        attach: Box<Attach>,
    },
    Signal(Box<proto::signal_request::Message>),
}

/// What the home says.
#[derive(Clone, Debug)]
pub enum ToGateway {
    Signal(Box<proto::SignalResponse>),
    /// The session is over for the room.
    Close,
    /// As that, and the client is to resume it wherever the room is by then.
    Restart,
    Refused(AttachError),
    /// This node is not the room's home: look again.
    NotHere,
}

#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("a frame of {0} bytes")]
    TooLarge(usize),
    #[error("a session of version {0}; this node speaks {VERSION}")]
    Version(u8),
    #[error("a frame that cannot be understood")]
    Malformed,
}

/// Kinds of frames; on the wire: never reuse one.
mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const SIGNAL: u8 = 2;
    pub(super) const CLOSE: u8 = 3;
    pub(super) const REFUSED: u8 = 4;
    pub(super) const NOT_HERE: u8 = 5;
    pub(super) const RESTART: u8 = 6;
}

/// Length of what follows (big-endian), and the kind.
const HEADER_BYTES: usize = 5;

#[derive(Clone, PartialEq, prost::Message)]
struct Hello {
    #[prost(uint64, tag = "1")]
    epoch: u64,
    #[prost(string, tag = "2")]
    room: String,
    /// Verified; as a token would carry them.
    #[prost(bytes = "vec", tag = "3")]
    claims_json: Vec<u8>,
    /// 0 join, 1 one shot, 2 resume, 3 rebind.
    #[prost(uint32, tag = "4")]
    attach_kind: u32,
    #[prost(string, tag = "5")]
    participant_sid: String,
    #[prost(int32, tag = "6")]
    reconnect_reason: i32,
    #[prost(message, optional, tag = "7")]
    client: Option<proto::ClientInfo>,
    #[prost(bool, tag = "8")]
    auto_subscribe: bool,
    #[prost(bool, tag = "9")]
    auto_subscribe_data_track: bool,
    #[prost(bool, tag = "10")]
    adaptive_stream: bool,
    #[prost(bool, optional, tag = "11")]
    subscriber_allow_pause: Option<bool>,
    #[prost(bool, tag = "12")]
    disable_ice_lite: bool,
    #[prost(bool, tag = "13")]
    single_peer_connection: bool,
    #[prost(btree_map = "string, string", tag = "14")]
    attributes: std::collections::BTreeMap<String, String>,
    #[prost(message, optional, tag = "15")]
    publisher_offer: Option<proto::SessionDescription>,
    #[prost(message, repeated, tag = "16")]
    add_tracks: Vec<proto::AddTrackRequest>,
    /// Of a rebind: messages may have been lost.
    #[prost(bool, tag = "17")]
    missed: bool,
    /// How long the client waits for its room, in milliseconds.
    #[prost(uint64, tag = "18")]
    waited_ms: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Refused {
    /// 1 no such room, 2 closed by media, 3 node full, 4 shutting down, 5 invalid, 6 unreachable.
    #[prost(uint32, tag = "1")]
    why: u32,
    #[prost(string, tag = "2")]
    text: String,
}

impl ToHome {
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Hello { epoch, attach } => {
                let hello = hello_of(*epoch, attach);
                let mut body = BytesMut::with_capacity(1 + hello.encoded_len());
                body.put_u8(VERSION);
                body.put_slice(&hello.encode_to_vec());
                frame(kind::HELLO, &body)
            }
            Self::Signal(message) => {
                let request = proto::SignalRequest {
                    message: Some((**message).clone()),
                };
                frame(kind::SIGNAL, &request.encode_to_vec())
            }
        }
    }

    /// The session's id is the home's to give: `session`.
    pub fn decode(kind: u8, body: &[u8], session: SessionId) -> Result<Self, WireError> {
        match kind {
            kind::HELLO => {
                let (version, body) = body.split_first().ok_or(WireError::Malformed)?;
                if *version != VERSION {
                    return Err(WireError::Version(*version));
                }
                let hello = Hello::decode(body).map_err(|_| WireError::Malformed)?;
                let epoch = Epoch(hello.epoch);
                let attach = Box::new(attach_of(hello, session)?);
                Ok(Self::Hello { epoch, attach })
            }
            kind::SIGNAL => {
                let request = proto::SignalRequest::decode(body);
                let message = request.map_err(|_| WireError::Malformed)?.message;
                // What only a newer gateway knows is nothing here either.
                let message = message.ok_or(WireError::Malformed)?;
                Ok(Self::Signal(Box::new(message)))
            }
            _ => Err(WireError::Malformed),
        }
    }
}

impl ToGateway {
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Signal(response) => frame(kind::SIGNAL, &response.encode_to_vec()),
            Self::Close => frame(kind::CLOSE, &[]),
            Self::Restart => frame(kind::RESTART, &[]),
            Self::NotHere | Self::Refused(AttachError::Elsewhere) => frame(kind::NOT_HERE, &[]),
            Self::Refused(error) => {
                let (why, text) = match error {
                    AttachError::RoomNotFound => (1, ""),
                    AttachError::ClosedByMedia => (2, ""),
                    AttachError::NodeFull => (3, ""),
                    AttachError::ShuttingDown => (4, ""),
                    AttachError::Invalid(text) => (5, text.as_str()),
                    AttachError::Unreachable(text) => (6, text.as_str()),
                    AttachError::Elsewhere => (6, "the room moves"),
                };
                let text = text.to_owned();
                frame(kind::REFUSED, &Refused { why, text }.encode_to_vec())
            }
        }
    }

    pub fn decode(kind: u8, body: &[u8]) -> Result<Self, WireError> {
        match kind {
            kind::SIGNAL => {
                let response = proto::SignalResponse::decode(body);
                let response = response.map_err(|_| WireError::Malformed)?;
                Ok(Self::Signal(Box::new(response)))
            }
            kind::CLOSE => Ok(Self::Close),
            kind::RESTART => Ok(Self::Restart),
            kind::NOT_HERE => Ok(Self::NotHere),
            kind::REFUSED => {
                let refused = Refused::decode(body).map_err(|_| WireError::Malformed)?;
                Ok(Self::Refused(match refused.why {
                    1 => AttachError::RoomNotFound,
                    3 => AttachError::NodeFull,
                    4 => AttachError::ShuttingDown,
                    5 => AttachError::Invalid(refused.text),
                    6 => AttachError::Unreachable(refused.text),
                    // 2, and what only a newer home knows.
                    _ => AttachError::ClosedByMedia,
                }))
            }
            _ => Err(WireError::Malformed),
        }
    }
}

pub(super) fn frame(kind: u8, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEADER_BYTES + body.len());
    // Longer than a reader takes: it ends the stream, as with every other frame that is too long.
    frame.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    frame.put_u8(kind);
    frame.put_slice(body);
    frame.freeze()
}

/// The frames of a stream, kind and body. Ends after the first error; the end of the stream between
/// two frames is no error.
pub fn frames<R>(recv: R) -> impl Stream<Item = Result<(u8, Bytes), WireError>> + Send
where
    R: AsyncRead + Unpin + Send,
{
    futures_util::stream::unfold(Some(recv), |recv| async move {
        let mut recv = recv?;
        match read(&mut recv).await {
            Ok(Some(frame)) => Some((Ok(frame), Some(recv))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
}

/// The first frame, which whoever opens a stream has ready; `None` = it did not come in time.
pub(super) async fn first_frame<S>(frames: &mut S) -> Result<Option<(u8, Bytes)>, WireError>
where
    S: Stream<Item = Result<(u8, Bytes), WireError>> + Unpin,
{
    match tokio::time::timeout(HELLO_TIMEOUT, frames.next()).await {
        Ok(Some(frame)) => frame.map(Some),
        Ok(None) | Err(_) => Ok(None),
    }
}

async fn read(recv: &mut (impl AsyncRead + Unpin)) -> Result<Option<(u8, Bytes)>, WireError> {
    let mut header = [0; HEADER_BYTES];
    if recv.read(&mut header[..1]).await? == 0 {
        return Ok(None);
    }
    recv.read_exact(&mut header[1..]).await?;
    let [a, b, c, d, kind] = header;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(WireError::TooLarge(length));
    }
    let mut body = vec![0; length];
    recv.read_exact(&mut body).await?;
    Ok(Some((kind, body.into())))
}

fn hello_of(epoch: Epoch, attach: &Attach) -> Hello {
    let (attach_kind, participant_sid, reconnect_reason) = match &attach.kind {
        AttachKind::Join => (0, String::new(), 0),
        AttachKind::OneShot => (1, String::new(), 0),
        AttachKind::Resume {
            participant_sid,
            reason,
        } => (2, participant_sid.clone(), *reason),
        AttachKind::Rebind {
            participant_sid, ..
        } => (3, participant_sid.clone(), 0),
    };
    let missed = matches!(attach.kind, AttachKind::Rebind { missed: true, .. });
    Hello {
        epoch: epoch.0,
        room: attach.room.clone(),
        // Claims came from JSON; writing them back cannot fail.
        claims_json: serde_json::to_vec(&attach.claims).unwrap_or_default(),
        attach_kind,
        participant_sid,
        reconnect_reason,
        client: Some(attach.client.clone()),
        auto_subscribe: attach.auto_subscribe,
        auto_subscribe_data_track: attach.auto_subscribe_data_track,
        adaptive_stream: attach.adaptive_stream,
        subscriber_allow_pause: attach.subscriber_allow_pause,
        disable_ice_lite: attach.disable_ice_lite,
        single_peer_connection: attach.single_peer_connection,
        attributes: attach.attributes.clone(),
        publisher_offer: attach.publisher_offer.clone(),
        add_tracks: attach.add_tracks.clone(),
        missed,
        waited_ms: u64::try_from(attach.asked.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

fn attach_of(hello: Hello, session: SessionId) -> Result<Attach, WireError> {
    let kind = match hello.attach_kind {
        0 => AttachKind::Join,
        1 => AttachKind::OneShot,
        2 => AttachKind::Resume {
            participant_sid: hello.participant_sid,
            reason: hello.reconnect_reason,
        },
        3 => AttachKind::Rebind {
            participant_sid: hello.participant_sid,
            missed: hello.missed,
        },
        _ => return Err(WireError::Malformed),
    };
    let claims = serde_json::from_slice(&hello.claims_json);
    let (now, waited) = (Instant::now(), Duration::from_millis(hello.waited_ms));
    Ok(Attach {
        session,
        asked: now.checked_sub(waited).unwrap_or(now),
        room: hello.room,
        claims: claims.map_err(|_| WireError::Malformed)?,
        kind,
        client: hello.client.unwrap_or_default(),
        auto_subscribe: hello.auto_subscribe,
        auto_subscribe_data_track: hello.auto_subscribe_data_track,
        adaptive_stream: hello.adaptive_stream,
        subscriber_allow_pause: hello.subscriber_allow_pause,
        disable_ice_lite: hello.disable_ice_lite,
        single_peer_connection: hello.single_peer_connection,
        attributes: hello.attributes,
        publisher_offer: hello.publisher_offer,
        add_tracks: hello.add_tracks,
    })
}

#[cfg(test)]
mod tests;
