//! A node's `Hosting`, looked at: the judge is told which rooms the node opens under which epoch,
//! and when they are over.

use std::sync::Arc;

use consensus::ids::Epoch;
use node::cluster::hosting::Homes;
use node::room::environment::{Hosting, Opening};

use super::grid::{Grid, Step};
use crate::scenario::Host;

pub(crate) struct Watched {
    pub(crate) grid: Arc<Grid>,
    pub(crate) host: Host,
    pub(crate) homes: Homes,
}

impl Hosting for Watched {
    fn begin(&self, room: &str) -> Option<Opening> {
        let opening = self.homes.begin(room);
        let (who, grid) = (self.host.name(), &self.grid);
        let Some(opening) = opening else {
            grid.trace
                .line(who, format!("room {room} may not open here"));
            return None;
        };
        let epoch = Epoch(opening.epoch);
        let how = opening.image.as_ref().map_or("anew", |_| "as it was");
        grid.trace
            .line(who, format!("room {room} opens {how} under {epoch}"));
        grid.judge().opens(self.host, room, epoch);
        if opening.image.is_some() {
            grid.step_of_takeover(Step::Opens, self.host);
        }
        Some(opening)
    }

    fn remembers(&self, room: &str) -> bool {
        self.homes.remembers(room)
    }

    fn ended(&self, room: &str, epoch: u64) {
        let who = self.host.name();
        self.grid
            .trace
            .line(who, format!("room {room} is over here"));
        self.grid.judge().ends(self.host, room, Epoch(epoch));
        self.homes.ended(room, epoch);
    }

    fn decline(&self, room: &str) {
        self.homes.decline(room);
    }
}
