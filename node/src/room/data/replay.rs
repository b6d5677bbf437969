//! Reliable packets of the last moments, for those who resume and say what they got last.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use protocol::proto;

use super::{Destinations, RELIABLE};
use crate::participant::MediaInput;
use crate::room::Room;
use crate::room::limits::{REPLAY_AGE_MAX, REPLAY_BYTES_MAX};

#[derive(Default)]
pub(super) struct Replay {
    kept: VecDeque<Kept>,
    bytes: usize,
}

struct Kept {
    at: Instant,
    publisher_sid: String,
    sequence: u32,
    destinations: Destinations,
    payload: Bytes,
}

impl Replay {
    pub(super) fn keep(
        &mut self,
        now: Instant,
        publisher_sid: String,
        sequence: u32,
        destinations: Destinations,
        payload: Bytes,
    ) {
        self.bytes += payload.len();
        self.kept.push_back(Kept {
            at: now,
            publisher_sid,
            sequence,
            destinations,
            payload,
        });
        self.trim(now);
    }

    fn trim(&mut self, now: Instant) {
        while let Some(oldest) = self.kept.front()
            && (self.bytes > REPLAY_BYTES_MAX
                || now.saturating_duration_since(oldest.at) > REPLAY_AGE_MAX)
        {
            self.bytes -= oldest.payload.len();
            self.kept.pop_front();
        }
    }
}

impl Room {
    /// Sends again what a resumed client has not got; it drops what it has by sequence number.
    pub(in crate::room) fn replay_to(
        &mut self,
        number: u16,
        states: &[proto::DataChannelReceiveState],
    ) {
        self.data.replay.trim(self.now);
        let Some(member) = self.roster.get(number) else {
            return;
        };
        let mut got: HashMap<&str, u32> = HashMap::new();
        for state in states {
            let last = got.entry(&state.publisher_sid).or_insert(state.last_seq);
            *last = state.last_seq.min(*last);
        }
        let missed = |kept: &&Kept| {
            kept.publisher_sid != member.sid.0
                && kept.destinations.include(member)
                && got
                    .get(kept.publisher_sid.as_str())
                    .is_some_and(|last| kept.sequence > *last)
        };
        let payloads: Vec<Bytes> = self
            .data
            .replay
            .kept
            .iter()
            .filter(missed)
            .map(|kept| kept.payload.clone())
            .collect();
        for payload in payloads {
            self.feed(
                number,
                MediaInput::SendData {
                    label: RELIABLE,
                    payload,
                },
            );
        }
    }
}
