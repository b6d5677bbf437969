//! Bytes that outlive the process that wrote them: eight bytes of envelope (magic, what, version),
//! then rkyv. A version is never changed once released; a new one gets a number, a decoder beside
//! the old ones, and golden bytes in `tests/golden`.

use rkyv::api::high::{HighDeserializer, HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

use crate::command::Command;

const MAGIC: [u8; 4] = *b"skn1";
const HEADER_BYTES: usize = 8;

/// What the bytes are, so that one is never read as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Content {
    Command = 1,
    Vote = 2,
    LogId = 3,
    State = 4,
    SnapshotMeta = 5,
    Message = 6,
    Identity = 7,
    Entry = 8,
}

/// The newest version this program understands, of anything: what a node says of itself.
pub const VERSION: u16 = 3;
/// The version everything but the state is written in; see `state::encoding`.
pub(crate) const COMMON: u16 = 1;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    #[error("not an envelope")]
    NoEnvelope,
    #[error("expected {expected:?}, found content {found}")]
    WrongContent { expected: Content, found: u16 },
    /// Written by a newer program: upgrade this one.
    #[error("version {found} is newer than this program knows ({known})")]
    TooNew { found: u16, known: u16 },
    #[error("damaged: {0}")]
    Damaged(String),
}

/// A value in its envelope.
pub fn encode<T>(content: Content, value: &T) -> Result<Vec<u8>, EncodingError>
where
    T: for<'a> Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, rancor::Error>>,
{
    encode_as(content, COMMON, value)
}

/// The same, in a version of its own.
pub(crate) fn encode_as<T>(
    content: Content,
    version: u16,
    value: &T,
) -> Result<Vec<u8>, EncodingError>
where
    T: for<'a> Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, rancor::Error>>,
{
    let body = rkyv::to_bytes::<rancor::Error>(value).map_err(damaged)?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&(content as u16).to_le_bytes());
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// A value out of its envelope. All content but the state and commands, whose decoders ask
/// [`version`] first, has version 1 so far.
pub fn decode<T>(content: Content, bytes: &[u8]) -> Result<T, EncodingError>
where
    T: Archive,
    T::Archived: for<'a> CheckBytes<HighValidator<'a, rancor::Error>>
        + Deserialize<T, HighDeserializer<rancor::Error>>,
{
    decode_as(content, COMMON, bytes)
}

/// The same, of a version of its own.
pub(crate) fn decode_as<T>(content: Content, known: u16, bytes: &[u8]) -> Result<T, EncodingError>
where
    T: Archive,
    T::Archived: for<'a> CheckBytes<HighValidator<'a, rancor::Error>>
        + Deserialize<T, HighDeserializer<rancor::Error>>,
{
    let found = version(content, bytes)?;
    if found != known {
        return Err(EncodingError::TooNew { found, known });
    }
    let body = bytes.get(HEADER_BYTES..).unwrap_or_default();
    // rkyv reads aligned bytes only; what comes from a file or the network may not be.
    let mut aligned: AlignedVec = AlignedVec::with_capacity(body.len());
    aligned.extend_from_slice(body);
    rkyv::from_bytes::<T, rancor::Error>(&aligned).map_err(damaged)
}

/// A command, in the version that brought it.
pub fn decode_command(bytes: &[u8]) -> Result<Command, EncodingError> {
    let found = version(Content::Command, bytes)?;
    if found > VERSION {
        let known = VERSION;
        return Err(EncodingError::TooNew { found, known });
    }
    decode_as(Content::Command, found, bytes)
}

/// The version of an envelope.
pub fn version(expected: Content, bytes: &[u8]) -> Result<u16, EncodingError> {
    let header = bytes.get(..HEADER_BYTES).ok_or(EncodingError::NoEnvelope)?;
    if header[..4] != MAGIC {
        return Err(EncodingError::NoEnvelope);
    }
    let found = u16::from_le_bytes([header[4], header[5]]);
    if found != expected as u16 {
        return Err(EncodingError::WrongContent { expected, found });
    }
    Ok(u16::from_le_bytes([header[6], header[7]]))
}

fn damaged(error: rancor::Error) -> EncodingError {
    EncodingError::Damaged(error.to_string())
}
