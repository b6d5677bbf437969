//! A node's `Hosting`, looked at: the judge is told which rooms the node opens under which epoch,
//! and when they are over.

use std::sync::Arc;

use consensus::cluster::Cluster;
use consensus::ids::RoomName;
use node::cluster::hosting::Homes;
use node::room::environment::Hosting;

use super::grid::Grid;
use crate::scenario::Host;

pub(crate) struct Watched {
    pub(crate) grid: Arc<Grid>,
    pub(crate) host: Host,
    pub(crate) cluster: Cluster,
    pub(crate) homes: Homes,
}

impl Hosting for Watched {
    fn begin(&self, room: &str) -> Option<String> {
        let sid = self.homes.begin(room);
        let name = RoomName::from(room);
        let epoch = self
            .cluster
            .read(|state| state.room(&name).map(|known| known.epoch));
        let (who, grid) = (self.host.name(), &self.grid);
        match (&sid, epoch) {
            (Some(_), Some(epoch)) => {
                grid.trace
                    .line(who, format!("room {room} opens under {epoch}"));
                grid.judge().opens(self.host, room, epoch);
            }
            _ => grid
                .trace
                .line(who, format!("room {room} may not open here")),
        }
        sid
    }

    fn ended(&self, room: &str) {
        let who = self.host.name();
        self.grid
            .trace
            .line(who, format!("room {room} is over here"));
        self.grid.judge().ends(self.host, room);
        self.homes.ended(room);
    }
}
