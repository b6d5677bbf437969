//! Rooms that came from another node, are known to nobody here, and whose people are not back yet:
//! for the server API, which must not take them for absent.

use consensus::command::Room;

use super::{Homes, Hosted, Phase};
use crate::cluster::limits::KNOW_PATIENCE;
use crate::room::environment::Hosting;

impl Homes {
    /// A room that came from another node and whose people are not back yet.
    pub fn awaits(&self, room: &str) -> bool {
        let phase = self.locked().get(room).map(|known| known.phase);
        matches!(phase, Some(Phase::Expected { moved: true, .. })) && self.current(room).is_some()
    }

    /// All of those.
    pub fn awaited(&self) -> Vec<(String, Room)> {
        let moved = |known: &Hosted| matches!(known.phase, Phase::Expected { moved: true, .. });
        let hosted = self.locked();
        let names = hosted.iter().filter(|(_, known)| moved(known));
        let known = names.filter_map(|(name, _)| Some((name.clone(), self.current(name)?)));
        known.collect()
    }

    /// Ends a room that nobody came back to; true when the log has closed it.
    pub async fn end_awaited(&self, room: &str) -> bool {
        let mut changed = self.0.changed.subscribe();
        self.decline(room);
        let ended = async { while self.is_ending(room) && changed.changed().await.is_ok() {} };
        tokio::time::timeout(KNOW_PATIENCE, ended).await.is_ok() && self.current(room).is_none()
    }
}
