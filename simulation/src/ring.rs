//! What the simulator and the hosts share: the machines, the air between them, the trace and the
//! checkers. One thread, so the locks are never waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use consensus::cluster::Cluster;
use consensus::ids::NodeId;
use consensus::splitmix::SplitMix;
use tokio::sync::mpsc;

use crate::air::Air;
use crate::limits::ORDERS_MAX;
use crate::machine::Machine;
use crate::oracle::Oracle;
use crate::scenario::{Host, Scenario};
use crate::trace::Trace;

/// What the simulator wants of a running host.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    TakeSnapshot,
    TransferLeadership(Host),
}

/// What hosts may look up of each other and of the plan.
pub(crate) struct Plan {
    /// Who shall vote.
    pub(crate) voters: BTreeSet<Host>,
    /// The first node made itself a cluster, once for ever.
    pub(crate) bootstrapped: bool,
    /// No more operations: the end is near.
    pub(crate) quiet: bool,
    pub(crate) running: BTreeSet<Host>,
    /// Processes that ended by themselves; the simulator takes what is left of them away.
    pub(crate) exited: BTreeSet<Host>,
    /// Of running processes, for looking at their states.
    pub(crate) clusters: BTreeMap<Host, Cluster>,
    pub(crate) orders: BTreeMap<Host, mpsc::Sender<Order>>,
}

pub(crate) struct Ring {
    pub(crate) scenario: Scenario,
    pub(crate) trace: Trace,
    machines: Mutex<BTreeMap<Host, Machine>>,
    air: Mutex<Air>,
    oracle: Mutex<Oracle>,
    plan: Mutex<Plan>,
    dice: Mutex<SplitMix>,
}

/// Whoever panicked is told of elsewhere.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ring {
    pub(crate) fn new(scenario: Scenario, trace: Trace) -> Self {
        let machine = |host: Host| {
            let seed = scenario.seed.wrapping_mul(1_000).wrapping_add(host.0);
            (host, Machine::new(host, seed, scenario.sync_delay_max))
        };
        let plan = Plan {
            voters: scenario.voters(),
            bootstrapped: false,
            quiet: false,
            running: scenario.hosts().collect(),
            exited: BTreeSet::new(),
            clusters: BTreeMap::new(),
            orders: BTreeMap::new(),
        };
        Self {
            machines: Mutex::new(scenario.hosts().map(machine).collect()),
            air: Mutex::new(Air::new(&scenario)),
            oracle: Mutex::new(Oracle::new()),
            plan: Mutex::new(plan),
            dice: Mutex::new(SplitMix(scenario.seed)),
            trace,
            scenario,
        }
    }

    pub(crate) fn machines(&self) -> MutexGuard<'_, BTreeMap<Host, Machine>> {
        lock(&self.machines)
    }

    pub(crate) fn air(&self) -> MutexGuard<'_, Air> {
        lock(&self.air)
    }

    pub(crate) fn oracle(&self) -> MutexGuard<'_, Oracle> {
        lock(&self.oracle)
    }

    pub(crate) fn plan(&self) -> MutexGuard<'_, Plan> {
        lock(&self.plan)
    }

    pub(crate) fn dice(&self) -> MutexGuard<'_, SplitMix> {
        lock(&self.dice)
    }

    pub(crate) fn now(&self) -> Duration {
        self.trace.now()
    }

    /// Who a machine is now.
    pub(crate) fn node(&self, host: Host) -> NodeId {
        let machines = self.machines();
        machines.get(&host).map_or(NodeId(host.0), Machine::node)
    }

    /// The machine of a node that is somebody's present id.
    pub(crate) fn host_of(&self, node: NodeId) -> Option<Host> {
        let machines = self.machines();
        let mut found = machines
            .iter()
            .filter(|(_, machine)| machine.node() == node);
        found.next().map(|(host, _)| *host)
    }

    /// Dropped where the host is not there, or has not followed the last ones.
    pub(crate) fn order(&self, host: Host, order: Order) {
        if let Some(orders) = self.plan().orders.get(&host) {
            let _ = orders.try_send(order);
        }
    }

    /// The receiving end, of a process that begins.
    pub(crate) fn take_orders(&self, host: Host) -> mpsc::Receiver<Order> {
        // overflow: DROPS the order.
        let (sender, receiver) = mpsc::channel(ORDERS_MAX);
        self.plan().orders.insert(host, sender);
        receiver
    }
}
