//! What becomes of transports that were taken over: whether their clients followed, and whether
//! their data channels did. Called by the shard's ticks.

use std::time::Instant;

use crate::event::Event;
use crate::limits::{CHANNELS_PATIENCE, TAKEOVER_PATIENCE};
use crate::shard::Shard;

/// How far a takeover is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Takeover {
    /// Since then the client was not heard here.
    Unheard(Instant),
    /// Its channels are to be up by then, if it is there.
    Channels(Instant),
}

impl Shard {
    /// Says whether the client followed, once it did or had the time to; later, if its data
    /// channels did not.
    pub(super) fn watch_takeover(&mut self, now: Instant, index: u32) {
        let Some(slot) = self.transports.get_mut(index) else {
            return;
        };
        let transport = slot.key;
        match slot.takeover {
            None => {}
            Some(Takeover::Unheard(at)) => {
                let heard = slot.transport.answered_after(at);
                if heard || now.saturating_duration_since(at) >= TAKEOVER_PATIENCE {
                    slot.takeover = Some(Takeover::Channels(now + CHANNELS_PATIENCE));
                    self.events.push_back(Event::TakenOver { transport, heard });
                }
            }
            Some(Takeover::Channels(due)) => {
                let waits = slot.transport.awaits_channels();
                let lately = now.checked_sub(CHANNELS_PATIENCE).unwrap_or(now);
                if !waits {
                    slot.takeover = None;
                } else if slot.transport.answers_channels()
                    || !slot.transport.answered_after(lately)
                {
                    // On its way, or nobody is there who could answer.
                    slot.takeover = Some(Takeover::Channels(now + CHANNELS_PATIENCE));
                } else if now >= due {
                    slot.takeover = None;
                    self.events.push_back(Event::ChannelsLost { transport });
                }
            }
        }
    }
}
