//! What the simulator asks of running nodes, and the operators who ask them for drains: they know
//! of each other, so the last one has it as wanted. Called by `host`.

use std::sync::Arc;
use std::time::Duration;

use consensus::ids::NodeId;
use node::cluster::drain::{Drainage, Terms};
use tokio::sync::mpsc;

use super::grid::{Grid, Order};

const RETRY: Duration = Duration::from_millis(500);
const TRIES_MAX: usize = 40;

/// A drain being asked for, also where the node that asks dies of it.
struct Asking {
    grid: Arc<Grid>,
    node: NodeId,
}

impl Asking {
    fn begin(grid: &Arc<Grid>, node: NodeId) -> Self {
        grid.plan().operators.entry(node).or_default().asking += 1;
        let grid = grid.clone();
        Self { grid, node }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut plan = self.grid.plan();
        let operators = plan.operators.entry(self.node).or_default();
        operators.asking = operators.asking.saturating_sub(1);
    }
}

/// Until it is to stop.
pub(crate) async fn follow_orders(
    grid: Arc<Grid>,
    drainage: Drainage,
    mut orders: mpsc::Receiver<Order>,
) {
    while let Some(order) = orders.recv().await {
        match order {
            Order::Stop => return,
            Order::Drain(_) | Order::Undrain(_) => {
                tokio::spawn(operate(grid.clone(), drainage.clone(), order));
            }
        }
    }
}

/// Tries until it is done, gives up, or somebody else wants it otherwise.
async fn operate(grid: Arc<Grid>, drainage: Drainage, order: Order) {
    let (Order::Drain(node) | Order::Undrain(node)) = order else {
        return;
    };
    let mine = {
        let mut plan = grid.plan();
        let operators = plan.operators.entry(node).or_default();
        operators.latest += 1;
        operators.latest
    };
    let latest = || grid.plan().operators.get(&node).map_or(0, |one| one.latest);
    for _ in 0..TRIES_MAX {
        let done = match order {
            Order::Drain(_) => {
                let _asking = Asking::begin(&grid, node);
                drainage.drain(node, &Terms::default()).await
            }
            _ => {
                quiet(&grid, node).await;
                drainage.undrain(node).await
            }
        };
        if done.is_ok() || latest() != mine {
            return;
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Nobody asks for a drain of the node any more, nor is anything of that on its way.
async fn quiet(grid: &Arc<Grid>, node: NodeId) {
    let asking = || {
        let plan = grid.plan();
        plan.operators.get(&node).map_or(0, |one| one.asking)
    };
    for _ in 0..TRIES_MAX {
        let before = asking();
        tokio::time::sleep(RETRY).await;
        if before == 0 && asking() == 0 {
            return;
        }
    }
}
