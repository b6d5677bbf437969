//! What the table of rooms owes a cluster.
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::room::WarmTransports;
use crate::room::environment::{Opening, RoomsConfig};

/// Every life of a room has an epoch of its own.
#[derive(Default)]
struct Host {
    epoch: AtomicU64,
    ended: Mutex<Vec<u64>>,
}

impl Hosting for Host {
    fn begin(&self, _: &str) -> Option<Opening> {
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        let sid = format!("RM_{epoch}");
        Some(Opening {
            sid,
            epoch,
            image: None,
            warm: WarmTransports::new(),
            arrival: None,
        })
    }

    fn ended(&self, _: &str, epoch: u64) {
        self.ended.lock().unwrap().push(epoch);
    }

    fn decline(&self, _: &str) {}

    fn remembers(&self, _: &str) -> bool {
        false
    }
}

fn daily() -> proto::CreateRoomRequest {
    proto::CreateRoomRequest {
        name: "daily".into(),
        ..Default::default()
    }
}

#[actix_web::test]
async fn a_fence_that_comes_late_spares_the_room_s_next_life() {
    let rooms = testing::rooms(RoomsConfig::default(), false);
    let host = Arc::new(Host::default());
    rooms.host_with(host.clone());
    rooms.create(daily()).await.unwrap();
    rooms.call("daily", RoomCall::Delete).await.unwrap();
    while host.ended.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let second = rooms.create(daily()).await.unwrap();
    assert_eq!(second.sid, "RM_2");
    rooms.fence("daily", 1, false);
    assert_eq!(rooms.list(&[]).await.len(), 1);
    rooms.fence("daily", 2, false);
    while host.ended.lock().unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*host.ended.lock().unwrap(), [1, 2]);
}
