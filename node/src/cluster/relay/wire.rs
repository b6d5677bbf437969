//! What a room's home and the nodes that carry some of its participants say to each other: frames
//! of a length, a kind and protobuf, as sessions between nodes have them. Keys travel without the
//! room's number, of which each node has its own.

pub mod commands;
pub mod events;
#[cfg(test)]
mod tests;
pub mod values;

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use crate::cluster::session_wire::{WireError, frame};
use crate::room::environment::Endpoint;
use commands::Told;
use events::Fact;
use values::{Candidate, Digest};

/// Of the first frame.
pub const VERSION: u32 = 1;

mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const TOLD: u8 = 2;
    pub(super) const FACT: u8 = 3;
}

/// Opens a part of a room on another node; everything said after it is about that part.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Hello {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(string, tag = "2")]
    pub room: String,
    /// Since when the home is the room's: what has a newer home is closed.
    #[prost(uint64, tag = "3")]
    pub epoch: u64,
    #[prost(uint32, tag = "4")]
    pub shard: u32,
}

/// What the home says.
#[derive(Clone, Debug, PartialEq)]
pub enum ToGuest {
    Hello(Hello),
    Told(Box<Told>),
    /// Of a newer home.
    Unknown,
}

impl ToGuest {
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Hello(hello) => frame(kind::HELLO, &hello.encode_to_vec()),
            Self::Told(told) => frame(kind::TOLD, &told.encode_to_vec()),
            Self::Unknown => Bytes::new(),
        }
    }

    pub fn decode(kind: u8, body: Bytes) -> Result<Self, WireError> {
        match kind {
            kind::HELLO => {
                let hello = Hello::decode(body).map_err(|_| WireError::Malformed)?;
                match hello.version {
                    VERSION => Ok(Self::Hello(hello)),
                    other => Err(WireError::Version(u8::try_from(other).unwrap_or(u8::MAX))),
                }
            }
            kind::TOLD => {
                let told = Told::decode(body).map_err(|_| WireError::Malformed)?;
                Ok(Self::Told(Box::new(told)))
            }
            _ => Ok(Self::Unknown),
        }
    }
}

pub fn encode_fact(fact: &Fact) -> Bytes {
    frame(kind::FACT, &fact.encode_to_vec())
}

/// `None`: of a newer guest.
pub fn decode_fact(kind: u8, body: Bytes) -> Result<Option<Fact>, WireError> {
    match kind {
        kind::FACT => {
            let fact = Fact::decode(body).map_err(|_| WireError::Malformed)?;
            Ok(Some(fact))
        }
        _ => Ok(None),
    }
}

/// What a node says of its shards to those whose rooms may span to it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Description {
    #[prost(message, repeated, tag = "1")]
    pub shards: Vec<Described>,
    #[prost(message, optional, tag = "2")]
    pub fingerprint: Option<Digest>,
    /// It takes no new participant.
    #[prost(bool, tag = "3")]
    pub full: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Described {
    #[prost(message, repeated, tag = "1")]
    candidates: Vec<Candidate>,
    #[prost(string, tag = "2")]
    ufrag_prefix: String,
    /// Share of its core in use.
    #[prost(uint32, tag = "3")]
    busy_permille: u32,
}

impl Described {
    pub fn new(endpoint: &Endpoint, busy_permille: u16) -> Self {
        Self {
            candidates: endpoint.candidates.iter().map(Candidate::from).collect(),
            ufrag_prefix: endpoint.ufrag_prefix.to_string(),
            busy_permille: busy_permille.into(),
        }
    }
}

impl Description {
    /// Each shard's endpoint and load.
    pub fn read(self) -> Option<Vec<(Endpoint, u16)>> {
        let fingerprint = self.fingerprint?.read();
        let endpoint = |shard: Described| {
            let candidates = shard.candidates.into_iter();
            let endpoint = Endpoint {
                candidates: candidates
                    .filter_map(Candidate::local)
                    .collect::<Arc<[_]>>(),
                fingerprint: fingerprint.clone(),
                ufrag_prefix: shard.ufrag_prefix.chars().next()?,
                spare: None,
            };
            let busy = u16::try_from(shard.busy_permille).unwrap_or(u16::MAX);
            Some((endpoint, busy))
        };
        self.shards.into_iter().map(endpoint).collect()
    }
}
