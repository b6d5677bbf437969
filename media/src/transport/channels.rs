//! Data channels: the table of one transport's channels and the messages that open them
//! (RFC 8831, RFC 8832). Used by `sctp`.

use bytes::{BufMut, Bytes, BytesMut};

use crate::limits::{SCTP_MAX_CHANNELS, SCTP_MAX_LABEL_BYTES};
use crate::types::Reliability;

const OPEN: u8 = 0x03;
const ACK: u8 = 0x02;
const RELIABLE: u8 = 0x00;
const PARTIAL_REXMIT: u8 = 0x01;
const PARTIAL_TIMED: u8 = 0x02;
const UNORDERED: u8 = 0x80;

/// How messages of a channel are delivered, in SCTP's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) ordered: bool,
    pub(super) limit: Limit,
}

/// When SCTP gives a message up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    Never,
    Retransmissions(u32),
    Milliseconds(u32),
}

impl From<Reliability> for Delivery {
    fn from(reliability: Reliability) -> Delivery {
        match reliability {
            Reliability::Reliable => Delivery {
                ordered: true,
                limit: Limit::Never,
            },
            Reliability::Lossy => Delivery {
                ordered: false,
                limit: Limit::Retransmissions(0),
            },
        }
    }
}

/// A message of the Data Channel Establishment Protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Dcep {
    Open { label: String, delivery: Delivery },
    Ack,
}

impl Dcep {
    pub(super) fn parse(raw: &[u8]) -> Option<Dcep> {
        match *raw.first()? {
            ACK => Some(Dcep::Ack),
            OPEN => {
                let head = raw.get(..12)?;
                let parameter = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
                let label_bytes = usize::from(u16::from_be_bytes([head[8], head[9]]));
                if label_bytes > SCTP_MAX_LABEL_BYTES {
                    return None;
                }
                let label = raw.get(12..12 + label_bytes)?;
                let limit = match head[1] & !UNORDERED {
                    RELIABLE => Limit::Never,
                    PARTIAL_REXMIT => Limit::Retransmissions(parameter),
                    PARTIAL_TIMED => Limit::Milliseconds(parameter),
                    _ => return None,
                };
                Some(Dcep::Open {
                    label: std::str::from_utf8(label).ok()?.to_owned(),
                    delivery: Delivery {
                        ordered: head[1] & UNORDERED == 0,
                        limit,
                    },
                })
            }
            _ => None,
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut raw = BytesMut::with_capacity(64);
        match self {
            Dcep::Ack => raw.put_u8(ACK),
            Dcep::Open { label, delivery } => {
                let (kind, parameter) = match delivery.limit {
                    Limit::Never => (RELIABLE, 0),
                    Limit::Retransmissions(count) => (PARTIAL_REXMIT, count),
                    Limit::Milliseconds(time) => (PARTIAL_TIMED, time),
                };
                raw.put_u8(OPEN);
                raw.put_u8(if delivery.ordered {
                    kind
                } else {
                    kind | UNORDERED
                });
                raw.put_u16(256); // "normal" priority of RFC 8831 §6.4
                raw.put_u32(parameter);
                raw.put_u16(label.len() as u16);
                raw.put_u16(0);
                raw.put_slice(label.as_bytes());
            }
        }
        raw.freeze()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Channel {
    pub(super) stream: u16,
    pub(super) label: String,
    pub(super) delivery: Delivery,
    pub(super) open: bool,
}

/// The channels of one transport, at most `SCTP_MAX_CHANNELS`.
#[derive(Debug, Default)]
pub(super) struct Channels {
    list: Vec<Channel>,
}

impl Channels {
    /// Adds `channel`; `false` if its stream is taken or there are too many.
    pub(super) fn add(&mut self, channel: Channel) -> bool {
        if self.list.len() >= SCTP_MAX_CHANNELS || self.get(channel.stream).is_some() {
            return false;
        }
        self.list.push(channel);
        true
    }

    /// Lowest free stream of our parity: even for the DTLS client (RFC 8832 §6).
    pub(super) fn free_stream(&self, is_client: bool) -> u16 {
        let mut stream = u16::from(!is_client);
        while self.get(stream).is_some() {
            stream += 2;
        }
        stream
    }

    pub(super) fn get(&self, stream: u16) -> Option<&Channel> {
        self.list.iter().find(|channel| channel.stream == stream)
    }

    pub(super) fn get_mut(&mut self, stream: u16) -> Option<&mut Channel> {
        self.list.iter_mut().find(|c| c.stream == stream)
    }

    /// The open channel called `label`.
    pub(super) fn open_by_label(&self, label: &str) -> Option<&Channel> {
        self.list.iter().find(|c| c.open && c.label == label)
    }

    pub(super) fn has_label(&self, label: &str) -> bool {
        self.list.iter().any(|channel| channel.label == label)
    }

    pub(super) fn remove(&mut self, stream: u16) -> Option<Channel> {
        let at = self.list.iter().position(|c| c.stream == stream)?;
        Some(self.list.remove(at))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.list.iter()
    }

    pub(super) fn drain(&mut self) -> Vec<Channel> {
        std::mem::take(&mut self.list)
    }
}

/// Entry of the fuzz target for channel messages.
pub fn fuzz_dcep(data: &[u8]) {
    if let Some(message) = Dcep::parse(data) {
        let _ = message.encode();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn open_messages_are_read_as_written() {
        for reliability in [Reliability::Reliable, Reliability::Lossy] {
            let open = Dcep::Open {
                label: "_reliable".to_owned(),
                delivery: reliability.into(),
            };
            assert_eq!(Dcep::parse(&open.encode()), Some(open));
        }
        assert_eq!(Dcep::parse(&Dcep::Ack.encode()), Some(Dcep::Ack));
    }

    #[test]
    fn broken_open_messages_are_refused() {
        let whole = Dcep::Open {
            label: "data".to_owned(),
            delivery: Reliability::Lossy.into(),
        }
        .encode();
        for length in 0..whole.len() {
            assert_eq!(Dcep::parse(&whole[..length]), None);
        }
        assert_eq!(Dcep::parse(&[9]), None);
        let mut long = whole.to_vec();
        long[8] = 0xFF;
        assert_eq!(Dcep::parse(&long), None);
    }

    #[test]
    fn streams_have_the_parity_of_the_dtls_role() {
        let mut channels = Channels::default();
        for expected in [1, 3, 5] {
            let stream = channels.free_stream(false);
            assert_eq!(stream, expected);
            assert!(channels.add(Channel {
                stream,
                label: String::new(),
                delivery: Reliability::Lossy.into(),
                open: true,
            }));
        }
        assert_eq!(channels.free_stream(true), 0);
    }
}
