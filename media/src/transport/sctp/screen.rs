//! What of a peer's SCTP packets reaches the library. Its receiver walks from one TSN to the next,
//! opens any stream and keeps any number of fragments: a packet that asks for more than a sane
//! sender does is dropped here. One per association; `running` feeds it both directions.

use crate::limits::{SCTP_MAX_FRAGMENTS, SCTP_MAX_RESETS, SCTP_MAX_STREAMS, SCTP_TSN_WINDOW};

const COMMON_HEADER_BYTES: usize = 12;
const CHUNK_HEADER_BYTES: usize = 4;
const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const SACK: u8 = 3;
const HEARTBEAT: u8 = 4;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;
const RE_CONFIG: u8 = 130;
const FORWARD_TSN: u8 = 192;
/// Parameters of RE-CONFIG (RFC 6525 §4.1, §4.4).
const OUTGOING_RESET: u16 = 13;
const RECONFIG_RESPONSE: u16 = 16;

/// What is done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    Drop,
    /// The peer made us keep more than any sender would: the association ends.
    GiveUp,
}

/// One association's view of its peer.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// The highest TSN up to which everything arrived, as our last SACK says; from INIT or
    /// INIT-ACK before that.
    cumulative: Option<u32>,
    /// DATA chunks passed and not read; repeats count until our receive buffer is empty.
    fragments: usize,
    /// Stream resets that wait for a TSN: request number and that TSN.
    resets: Vec<(u32, u32)>,
}

impl Screen {
    /// The packet that made the association: the peer's INIT.
    pub(super) fn opened(&mut self, packet: &[u8]) {
        if let Some((INIT, chunk)) = Chunks::new(packet).next().flatten() {
            self.cumulative = word(chunk, 16).map(|initial| initial.wrapping_sub(1));
        }
    }

    /// A packet of ours: its SACK tells what the library has. `empty_bytes`: the window we
    /// advertise while nothing is kept.
    pub(super) fn sent(&mut self, packet: &[u8], empty_bytes: u32) {
        for (kind, chunk) in Chunks::new(packet).flatten() {
            if kind == SACK {
                self.cumulative = word(chunk, 4).or(self.cumulative);
                if word(chunk, 8) == Some(empty_bytes) {
                    self.fragments = 0;
                }
            }
        }
    }

    /// A message of so many chunks was read.
    pub(super) fn read(&mut self, chunks: usize) {
        self.fragments = self.fragments.saturating_sub(chunks);
    }

    /// Judges a packet of the peer. `streams` exist, `exists` tells which.
    pub(super) fn judge(
        &mut self,
        packet: &[u8],
        streams: usize,
        mut exists: impl FnMut(u16) -> bool,
    ) -> Verdict {
        let mut new_streams: Vec<u16> = Vec::new();
        let mut data = 0;
        let mut last = false;
        for chunk in Chunks::new(packet) {
            let Some((kind, chunk)) = chunk.filter(|_| !last) else {
                return Verdict::Drop;
            };
            let sound = match kind {
                DATA => {
                    data += 1;
                    let stream = half(chunk, 8).unwrap_or_default();
                    if !new_streams.contains(&stream) && !exists(stream) {
                        new_streams.push(stream);
                    }
                    chunk.len() > 16 && word(chunk, 4).is_some_and(|tsn| self.is_near(tsn))
                }
                FORWARD_TSN => {
                    chunk.len().is_multiple_of(4)
                        && word(chunk, 4).is_some_and(|tsn| self.is_near(tsn))
                }
                SACK => is_sound_sack(chunk),
                RE_CONFIG => self.is_sound_reset(chunk),
                INIT => false,
                INIT_ACK => {
                    last = true;
                    self.take_init_ack(chunk)
                }
                HEARTBEAT => half(chunk, 6).is_some_and(|length| {
                    let length = usize::from(length).next_multiple_of(4);
                    length == (chunk.len() - CHUNK_HEADER_BYTES).next_multiple_of(4)
                }),
                SHUTDOWN => chunk.len() == 8,
                SHUTDOWN_ACK | COOKIE_ACK | SHUTDOWN_COMPLETE => chunk.len() == CHUNK_HEADER_BYTES,
                COOKIE_ECHO => true,
                // The library may see these end elsewhere: nothing may follow.
                _ => {
                    last = true;
                    true
                }
            };
            if !sound {
                return Verdict::Drop;
            }
        }
        if !new_streams.is_empty() && streams + new_streams.len() > SCTP_MAX_STREAMS {
            return Verdict::Drop;
        }
        self.fragments += data;
        if self.fragments > SCTP_MAX_FRAGMENTS {
            return Verdict::GiveUp;
        }
        Verdict::Pass
    }

    /// Not further ahead than a sender gets before it hears of us.
    fn is_near(&self, tsn: u32) -> bool {
        let ahead = |from: u32| tsn.wrapping_sub(from) as i32;
        self.cumulative
            .is_some_and(|from| ahead(from) <= SCTP_TSN_WINDOW)
    }

    /// The first one counts; a repeat says nothing new.
    fn take_init_ack(&mut self, chunk: &[u8]) -> bool {
        if self.cumulative.is_some() {
            return false;
        }
        self.cumulative = word(chunk, 16).map(|initial| initial.wrapping_sub(1));
        self.cumulative.is_some()
    }

    /// At most two parameters, of the sizes the library takes them for, and not too many resets
    /// that wait.
    fn is_sound_reset(&mut self, chunk: &[u8]) -> bool {
        let mut rest = &chunk[CHUNK_HEADER_BYTES..];
        for _ in 0..2 {
            if rest.is_empty() {
                break;
            }
            let (Some(kind), Some(length)) = (half(rest, 0), half(rest, 2)) else {
                return false;
            };
            let length = usize::from(length);
            let Some(parameter) = rest.get(..length).filter(|_| length >= 4) else {
                return false;
            };
            let sound = match kind {
                OUTGOING_RESET => length.is_multiple_of(2) && self.may_reset(parameter),
                RECONFIG_RESPONSE => length == 12,
                _ => false,
            };
            if !sound {
                return false;
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        rest.is_empty()
    }

    fn may_reset(&mut self, parameter: &[u8]) -> bool {
        let (Some(number), Some(tsn)) = (word(parameter, 4), word(parameter, 12)) else {
            return false;
        };
        let Some(cumulative) = self.cumulative.filter(|_| self.is_near(tsn)) else {
            return false;
        };
        let waits = |tsn: u32| tsn.wrapping_sub(cumulative) as i32 > 0;
        self.resets.retain(|(_, tsn)| waits(*tsn));
        if !waits(tsn) || self.resets.iter().any(|(known, _)| *known == number) {
            return true;
        }
        if self.resets.len() >= SCTP_MAX_RESETS {
            return false;
        }
        self.resets.push((number, tsn));
        true
    }
}

/// As long as its counts say, and its gaps in order: the library walks through each.
fn is_sound_sack(chunk: &[u8]) -> bool {
    let (Some(gaps), Some(duplicates)) = (half(chunk, 12), half(chunk, 14)) else {
        return false;
    };
    let (gaps, duplicates) = (usize::from(gaps), usize::from(duplicates));
    if chunk.len() != 16 + 4 * (gaps + duplicates) {
        return false;
    }
    let mut previous = 0;
    for gap in 0..gaps {
        let (Some(start), Some(end)) = (half(chunk, 16 + 4 * gap), half(chunk, 18 + 4 * gap))
        else {
            return false;
        };
        if start <= previous || end < start {
            return false;
        }
        previous = end;
    }
    true
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The chunks of a packet, header included; `None` once for what is none, then the end.
struct Chunks<'a>(&'a [u8]);

impl<'a> Chunks<'a> {
    fn new(packet: &'a [u8]) -> Chunks<'a> {
        Chunks(packet.get(COMMON_HEADER_BYTES..).unwrap_or_default())
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Option<(u8, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.0);
        let kind = *rest.first()?;
        let length = half(rest, 2).map_or(0, usize::from);
        let Some(chunk) = rest.get(..length).filter(|_| length >= CHUNK_HEADER_BYTES) else {
            return Some(None);
        };
        self.0 = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Some((kind, chunk)))
    }
}

#[cfg(test)]
mod tests;
