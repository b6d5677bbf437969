//! How the node ends: the first signal drains (no new rooms, those that run go on until everybody
//! has left), the second one sends everybody away. In a cluster others are told first, and whoever
//! is sent away comes back to them.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use crate::cluster::leaving::Leaving;
use crate::limits::{DRAIN_POLL, STOP_GRACE};
use crate::rooms::Rooms;
use crate::status::Status;

/// Returns when the node may stop.
pub async fn wait(rooms: &Rooms, status: &Status, leaving: Option<&Leaving>) -> io::Result<()> {
    let mut signals = Signals::listen()?;
    signals.next().await;
    tracing::info!("draining: no new rooms; another signal ends those that run");
    status.set_draining();
    if let Some(leaving) = leaving {
        leaving.begin().await;
    }
    rooms.drain();
    let mut forced = false;
    while !forced && !nobody_left(rooms).await {
        tokio::select! {
            () = tokio::time::sleep(DRAIN_POLL) => {}
            () = signals.next() => {
                tracing::info!("forced to stop");
                forced = true;
            }
        }
    }
    if let Some(leaving) = leaving {
        tokio::join!(leaving.end(!forced), leaving.send_clients_away());
        // Rooms that stand by elsewhere tell their clients to go on there.
        let _ = timeout(STOP_GRACE, none_left(rooms)).await;
    }
    rooms.stop().await;
    if forced {
        // Sessions write their Leave and close on their own threads.
        tokio::time::sleep(STOP_GRACE).await;
    }
    Ok(())
}

/// The node can take part in its cluster no longer: its clients are sent to others.
pub async fn abandon(rooms: &Rooms, leaving: Option<&Leaving>) {
    if let Some(leaving) = leaving {
        leaving.homes.leave();
        leaving.send_clients_away().await;
    }
    rooms.stop().await;
    tokio::time::sleep(STOP_GRACE).await;
}

async fn none_left(rooms: &Rooms) {
    while !rooms.list(&[]).await.is_empty() {
        tokio::time::sleep(STOP_GRACE / 10).await;
    }
}

async fn nobody_left(rooms: &Rooms) -> bool {
    rooms
        .list(&[])
        .await
        .iter()
        .all(|room| room.num_participants == 0)
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
}

impl Signals {
    fn listen() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.quit.recv() => {}
        }
    }
}
