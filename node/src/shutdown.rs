//! How the node ends: the first signal drains (no new rooms, those that run go on until everybody
//! has left), the second one sends everybody away.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::limits::{DRAIN_POLL, STOP_GRACE};
use crate::rooms::Rooms;
use crate::status::Status;

/// Returns when the node may stop.
pub async fn wait(rooms: &Rooms, status: &Status) -> io::Result<()> {
    let mut signals = Signals::listen()?;
    signals.next().await;
    tracing::info!("draining: no new rooms; another signal ends those that run");
    status.set_draining();
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
    rooms.stop().await;
    if forced {
        // Sessions write their Leave and close on their own threads.
        tokio::time::sleep(STOP_GRACE).await;
    }
    Ok(())
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
