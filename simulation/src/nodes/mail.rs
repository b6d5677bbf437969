//! The ends of the people's reliable channels, and the checker of what goes over them: somebody
//! says numbered words, a home takes them, and everybody who was in the room hears each once,
//! wherever the room goes meanwhile. Receivers drop what they have by sequence number, as LiveKit's
//! SDKs do. What a home took in the moment before it died may be lost. Owned by `judge`; people
//! speak, carriers take and deliver.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use consensus::splitmix::SplitMix;
use prost::Message as _;
use protocol::proto::data_packet::Value;
use protocol::proto::{DataChannelReceiveState, DataPacket, UserPacket};

use crate::limits::{KNOWN_TO_STANDBY_MS, WORD_DELAY_MS, WORD_MS, WORDS_A_LOSS, WORDS_KEPT};

/// Somebody's end of its channels, for as long as it is one participant.
#[derive(Debug)]
struct End {
    room: String,
    sid: String,
    /// The first of its ends of connections that belongs to this participant.
    generation: u64,
    /// Sequence number of the last word it said.
    said: u32,
    /// The last words, for a home that lacks them.
    recent: VecDeque<(u32, Bytes)>,
    /// No home took them yet.
    waiting: VecDeque<(u32, Bytes)>,
    /// By sid of whoever said it: the last sequence number.
    got: BTreeMap<String, u32>,
    heard: BTreeSet<String>,
}

/// A home took it, and some have not heard it yet.
#[derive(Debug)]
struct Word {
    text: String,
    taken: Duration,
    owed: BTreeSet<u64>,
}

#[derive(Debug)]
pub(crate) struct Mail {
    dice: SplitMix,
    ends: BTreeMap<u64, End>,
    words: Vec<Word>,
    /// Whatever is taken now must be heard.
    pub(crate) owing: bool,
    /// Words heard, and those dropped because they had been.
    pub(crate) heard: u64,
    pub(crate) again: u64,
    /// The mistake: words are lost.
    pub(crate) loses: bool,
}

impl Mail {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            dice: SplitMix(seed ^ 0x3a11),
            ends: BTreeMap::new(),
            words: Vec::new(),
            owing: false,
            heard: 0,
            again: 0,
            loses: false,
        }
    }

    /// Somebody is a participant from now on.
    pub(crate) fn begins(&mut self, person: u64, room: &str, sid: &str, generation: u64) {
        self.forgive(person);
        let end = End {
            room: room.to_owned(),
            sid: sid.to_owned(),
            generation,
            said: 0,
            recent: VecDeque::new(),
            waiting: VecDeque::new(),
            got: BTreeMap::new(),
            heard: BTreeSet::new(),
        };
        self.ends.insert(person, end);
    }

    /// It is that participant no more.
    pub(crate) fn ends(&mut self, person: u64) {
        self.forgive(person);
        self.ends.remove(&person);
    }

    /// It resumed at a home that has everything up to `last`, and says the rest again. What it
    /// tells the home of what it has got itself.
    pub(crate) fn resumes(&mut self, person: u64, last: u32) -> Vec<DataChannelReceiveState> {
        let Some(end) = self.ends.get_mut(&person) else {
            return Vec::new();
        };
        let lacked = end.recent.iter().filter(|(sequence, _)| *sequence > last);
        end.waiting = lacked.cloned().collect();
        let state = |(sid, last): (&String, &u32)| DataChannelReceiveState {
            publisher_sid: sid.clone(),
            last_seq: *last,
        };
        end.got.iter().map(state).collect()
    }

    /// One more word.
    pub(crate) fn says(&mut self, person: u64) {
        let Some(end) = self.ends.get_mut(&person) else {
            return;
        };
        end.said += 1;
        let packet = DataPacket {
            sequence: end.said,
            value: Some(Value::User(UserPacket {
                payload: text(end, end.said).into_bytes(),
                ..UserPacket::default()
            })),
            ..DataPacket::default()
        };
        let word = (end.said, Bytes::from(packet.encode_to_vec()));
        end.recent.push_back(word.clone());
        end.waiting.push_back(word);
        if end.recent.len() > WORDS_KEPT {
            end.recent.pop_front();
        }
    }

    /// A home takes what waits. `listeners`: who is there, by room.
    pub(crate) fn takes(
        &mut self,
        (person, generation): (u64, u64),
        now: Duration,
        listeners: impl Fn(&str) -> BTreeSet<u64>,
    ) -> Vec<Bytes> {
        let end = self.ends.get_mut(&person);
        let Some(end) = end.filter(|end| generation >= end.generation) else {
            return Vec::new();
        };
        let words: Vec<_> = end.waiting.drain(..).collect();
        let Some(end) = self.ends.get(&person) else {
            return Vec::new();
        };
        for (sequence, _) in words.iter().filter(|_| self.owing) {
            let text = text(end, *sequence);
            let mut owed = listeners(&end.room);
            owed.remove(&person);
            owed.retain(|one| {
                let other = self.ends.get(one);
                other.is_some_and(|other| !other.heard.contains(&text))
            });
            self.words.retain(|word| word.text != text);
            if !owed.is_empty() {
                self.words.push(Word {
                    text,
                    taken: now,
                    owed,
                });
            }
        }
        words.into_iter().map(|(_, word)| word).collect()
    }

    /// How long the next word is under way: some are lost on it, and sent again.
    pub(crate) fn delay(&mut self) -> Duration {
        let lost = self.dice.below(8) == 0;
        Duration::from_millis(if lost {
            self.dice.below(WORD_DELAY_MS)
        } else {
            0
        })
    }

    /// A word arrives. `Some`: what is wrong with it.
    pub(crate) fn hears(
        &mut self,
        (person, generation): (u64, u64),
        word: &[u8],
    ) -> Option<String> {
        let loses = self.loses && self.dice.below(WORDS_A_LOSS) == 0;
        let end = self.ends.get_mut(&person);
        let end = end.filter(|end| generation >= end.generation)?;
        let packet = DataPacket::decode(word).ok()?;
        let Some(Value::User(said)) = packet.value else {
            return Some(format!("c{person} hears what nobody said"));
        };
        let said = String::from_utf8_lossy(&said.payload).into_owned();
        if !said.starts_with(&format!("{}/", end.room)) {
            return Some(format!("c{person} is in {}, and hears {said}", end.room));
        }
        let by = packet.participant_sid;
        if by == end.sid {
            return Some(format!("c{person} hears itself: {said}"));
        }
        let last = end.got.entry(by).or_default();
        if packet.sequence <= *last {
            self.again += 1;
            return None;
        }
        *last = packet.sequence;
        if loses {
            return None;
        }
        self.heard += 1;
        for word in &mut self.words {
            if word.text == said {
                word.owed.remove(&person);
            }
        }
        self.words.retain(|word| !word.owed.is_empty());
        let twice = !end.heard.insert(said.clone());
        twice.then(|| format!("c{person} hears {said} twice"))
    }

    /// Somebody is owed nothing any more.
    fn forgive(&mut self, person: u64) {
        for word in &mut self.words {
            word.owed.remove(&person);
        }
        self.words.retain(|word| !word.owed.is_empty());
    }

    /// Something happened in which words may be lost.
    pub(crate) fn promises_nothing(&mut self) {
        self.words.clear();
        self.owing = false;
    }

    /// A home died, and everything else is well: what its standby knows is heard.
    pub(crate) fn a_home_dies(&mut self, now: Duration) {
        let known = Duration::from_millis(KNOWN_TO_STANDBY_MS);
        self.words.retain(|word| word.taken + known < now);
        self.owing = false;
    }

    /// Somebody has not heard something yet.
    pub(crate) fn owes(&self) -> bool {
        !self.words.is_empty()
    }

    /// A word that should have been heard by now; the others are forgotten with it.
    pub(crate) fn overdue(&mut self, now: Duration) -> Option<String> {
        let late = self.unheard(now, Duration::from_millis(WORD_MS))?;
        self.words.clear();
        Some(late)
    }

    /// A word that somebody has not heard for so long.
    pub(crate) fn unheard(&self, now: Duration, within: Duration) -> Option<String> {
        let late = self.words.iter().find(|word| word.taken + within < now)?;
        let who: Vec<String> = late.owed.iter().map(|who| format!("c{who}")).collect();
        let (who, text, taken) = (who.join(" and "), &late.text, late.taken);
        Some(format!("{who} did not hear {text}, taken at {taken:?}"))
    }
}

fn text(end: &End, sequence: u32) -> String {
    format!("{}/{}/{sequence}", end.room, end.sid)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// 1 and 2 are in a room; what 1 said was taken at `at` ms.
    fn mail(at: u32) -> (Mail, Vec<Bytes>) {
        let mut mail = Mail::new(1);
        mail.owing = true;
        mail.begins(1, "r", "PA_1", 1);
        mail.begins(2, "r", "PA_2", 1);
        mail.says(1);
        mail.says(1);
        let words = mail.takes((1, 1), MS * at, |_| BTreeSet::from([1, 2]));
        (mail, words.iter().map(|word| sent(word, "PA_1")).collect())
    }

    /// As a room passes it on.
    fn sent(word: &[u8], by: &str) -> Bytes {
        let mut packet = DataPacket::decode(word).unwrap();
        packet.participant_sid = by.to_owned();
        packet.encode_to_vec().into()
    }

    #[test]
    fn a_word_that_one_of_a_room_does_not_hear_is_missed() {
        let (mut mail, words) = mail(0);
        assert_eq!(mail.hears((2, 1), &words[0]), None);
        let late = mail.overdue(MS * (WORD_MS as u32 + 1)).unwrap();
        assert!(late.contains("c2 did not hear r/PA_1/2"), "{late}");
    }

    #[test]
    fn what_comes_again_is_dropped_and_what_comes_too_late_is_missed() {
        let (mut mail, words) = mail(0);
        for word in [&words[1], &words[0], &words[1]] {
            assert_eq!(mail.hears((2, 1), word), None);
        }
        assert_eq!((mail.heard, mail.again), (1, 2));
        assert!(mail.unheard(MS * 2, MS).unwrap().contains("r/PA_1/1"));
    }

    #[test]
    fn one_word_under_two_names_is_heard_twice() {
        let (mut mail, words) = mail(0);
        assert_eq!(mail.hears((2, 1), &words[0]), None);
        let wrong = mail.hears((2, 1), &sent(&words[0], "PA_3")).unwrap();
        assert!(wrong.contains("twice"), "{wrong}");
    }

    #[test]
    fn a_home_that_dies_may_lose_what_it_took_last() {
        let at = u32::try_from(KNOWN_TO_STANDBY_MS).unwrap();
        for (dies, owed) in [(at, false), (at + 1, true)] {
            let (mut mail, _) = mail(0);
            mail.a_home_dies(MS * dies);
            assert_eq!(mail.overdue(MS * 60_000).is_some(), owed);
        }
    }

    #[test]
    fn whoever_resumes_says_again_what_the_home_lacks() {
        let (mut mail, words) = mail(0);
        assert_eq!(mail.hears((2, 1), &words[0]), None);
        mail.resumes(1, 1);
        let again = mail.takes((1, 2), MS, |_| BTreeSet::new());
        assert_eq!(sent(&again[0], "PA_1"), words[1]);
        let states = mail.resumes(2, 0);
        assert_eq!((states[0].last_seq, states.len()), (1, 1));
    }
}
