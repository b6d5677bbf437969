//! The one pending timer of an actor that drives a core: set to the core's deadline after every
//! step, it wakes the actor then. Used by the shells of rooms, sessions and agent jobs.

use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, SpawnHandle};

/// A deadline that has passed is still a turn of the mailbox away: a core whose deadline does not
/// move cannot starve the other actors of its thread.
const DELAY_MIN: Duration = Duration::from_millis(1);

/// An actor with an alarm.
pub(crate) trait Alarmed: Actor<Context = Context<Self>> {
    fn alarm(&mut self) -> &mut Alarm;
    /// The deadline has come.
    fn wake(&mut self, ctx: &mut Context<Self>);
}

/// See the file header.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<(Instant, SpawnHandle)>);

impl Alarm {
    pub(crate) fn set<A: Alarmed>(&mut self, wanted: Option<Instant>, ctx: &mut Context<A>) {
        if self.0.map(|(at, _)| at) == wanted {
            return;
        }
        if let Some((_, handle)) = self.0.take() {
            ctx.cancel_future(handle);
        }
        if let Some(at) = wanted {
            let delay = at.saturating_duration_since(Instant::now()).max(DELAY_MIN);
            let handle = ctx.run_later(delay, |actor: &mut A, ctx| {
                actor.alarm().0 = None;
                actor.wake(ctx);
            });
            self.0 = Some((at, handle));
        }
    }
}
