//! The checker of webhooks: an app hears that a room began, who came, who left and that it is over,
//! each once and in that order, from whatever node. Where homes die something may be told twice or
//! never (what a room says in the last moment before its home dies is lost). Owned by `judge`.

use std::collections::BTreeMap;

use protocol::proto::{DisconnectReason, WebhookEvent};

use crate::scenario::Host;

#[derive(Clone, Copy, Debug, Default)]
struct Life {
    began: u32,
    ended: u32,
    /// Of a participant: it went as it had said.
    of_its_own: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Told {
    rooms: BTreeMap<String, Life>,
    people: BTreeMap<String, Life>,
    /// Who came in, and who left of his own accord, by sid.
    came: BTreeMap<String, bool>,
    pub(crate) events: u64,
    /// The mistake: one in so many is lost.
    pub(crate) lose_one_in: Option<u64>,
}

impl Told {
    /// `Some`: what is wrong with it. `peaceful`: no home dies.
    pub(crate) fn hear(
        &mut self,
        host: Host,
        event: &WebhookEvent,
        peaceful: bool,
    ) -> Option<String> {
        self.events += 1;
        if let Some(few) = self.lose_one_in
            && self.events.is_multiple_of(few)
        {
            return None;
        }
        let room = event.room.as_ref().map(|room| room.sid.clone());
        let room = room.unwrap_or_default();
        let who = event.participant.as_ref();
        let of_its_own =
            who.is_some_and(|one| one.disconnect_reason() == DisconnectReason::ClientInitiated);
        let sid = who.map(|one| one.sid.clone());
        let (lives, sid) = match event.event.as_str() {
            "room_started" | "room_finished" => (&mut self.rooms, room.clone()),
            "participant_joined" | "participant_left" => {
                (&mut self.people, sid.unwrap_or_default())
            }
            _ => return None,
        };
        let life = lives.entry(sid.clone()).or_default();
        let before = *life;
        let begins = event.event.ends_with("_started") || event.event.ends_with("_joined");
        let count = if begins {
            &mut life.began
        } else {
            &mut life.ended
        };
        *count += 1;
        life.of_its_own |= of_its_own;
        let wrong = match (begins, before) {
            (true, Life { ended: 1.., .. }) => "it was over",
            (true, Life { began: 1.., .. }) => "that was told before",
            (false, Life { ended: 1.., .. }) => "that was told before",
            (false, Life { began: 0, .. }) => "nobody was told that it began",
            _ => return None,
        };
        peaceful.then(|| {
            let (what, who) = (&event.event, host.name());
            format!("{who} tells {what} of {sid} in {room}: {wrong}")
        })
    }

    /// Somebody is in a room as `sid`.
    pub(crate) fn came(&mut self, sid: &str) {
        self.came.entry(sid.to_owned()).or_default();
    }

    pub(crate) fn left(&mut self, sid: &str) {
        self.came.insert(sid.to_owned(), true);
    }

    /// Whether it was told of cannot be said: it was there for a moment, or started over.
    pub(crate) fn forget(&mut self, sid: &str) {
        self.came.remove(sid);
    }

    /// What an app was never told, where no home died.
    pub(crate) fn lacks(&self) -> Option<String> {
        for (sid, left) in &self.came {
            let life = self.people.get(sid).copied().unwrap_or_default();
            if life.began == 0 {
                return Some(format!("nobody was told that {sid} joined"));
            }
            if *left && life.ended == 0 {
                return Some(format!("nobody was told that {sid} left"));
            }
            if *left && !life.of_its_own {
                return Some(format!(
                    "an app was told that {sid} was lost, who said farewell"
                ));
            }
            if !*left && life.ended > 0 {
                return Some(format!("everybody was told that {sid} left, who did not"));
            }
        }
        None
    }
}
