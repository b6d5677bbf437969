//! What the simulator and the hosts of the node ring share: machines, wires, trace, judge, and what
//! the simulator may ask of running nodes. One thread, so the locks are never waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use consensus::cluster::Cluster;
use consensus::ids::NodeId;
use consensus::splitmix::SplitMix;
use tokio::sync::mpsc;

use super::Mistake;
use super::judge::Judge;
use super::machine::Machine;
use super::scenario::Scenario;
use super::wires::Wires;
use crate::limits::{INNOCENT_AFTER_MS, ORDERS_MAX};
use crate::ring::lock;
use crate::scenario::Host;
use crate::trace::Trace;

/// The cluster endpoint, UDP and TCP.
pub(crate) const PORT: u16 = 7_900;
/// Where people come to.
pub(crate) const DOOR: u16 = 7_880;

/// The host of an address of the simulated network.
pub(crate) fn host_at(address: SocketAddr) -> Option<Host> {
    Host::parse(&turmoil::reverse_lookup(address.ip())?)
}

/// What the simulator wants of a running node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    Drain(NodeId),
    Undrain(NodeId),
    Stop,
}

/// Those who want a node drained, or to serve again.
#[derive(Default)]
pub(crate) struct Operators {
    /// Who came last has it as wanted.
    pub(crate) latest: u64,
    /// Drains being asked for.
    pub(crate) asking: u32,
}

/// Where a takeover or a move of a room is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Somebody is found dead.
    Found,
    /// The log says that a room has another home.
    Moved,
    /// A node opens a room as it was.
    Opens,
    /// A transport goes on at a standby.
    TakesOver,
    /// A transport is silent from now on where it was.
    Freezes,
    /// A room gets another standby.
    StandsBy,
}

/// What a node says of its cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) at: Duration,
    pub(crate) problems: Vec<String>,
    pub(crate) is_led: bool,
    /// Who is in which room, as its API tells.
    pub(crate) rooms: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Default)]
pub(crate) struct Plan {
    /// People may come.
    pub(crate) open: bool,
    /// Nodes shall say how things are.
    pub(crate) looking: bool,
    /// Everybody goes to a room and stays: the end is near.
    pub(crate) quiet: bool,
    /// Processes that ended by themselves.
    pub(crate) exited: BTreeSet<Host>,
    /// Of running processes.
    pub(crate) clusters: BTreeMap<Host, Cluster>,
    pub(crate) orders: BTreeMap<Host, mpsc::Sender<Order>>,
    pub(crate) operators: BTreeMap<NodeId, Operators>,
    pub(crate) views: BTreeMap<Host, View>,
    /// Who each machine is in the cluster.
    pub(crate) ids: BTreeMap<Host, NodeId>,
    /// Of takeovers and moves, since the simulator looked last.
    pub(crate) steps: Vec<(Step, Host)>,
}

pub(crate) struct Grid {
    pub(crate) scenario: Scenario,
    pub(crate) trace: Trace,
    pub(crate) mistake: Option<Mistake>,
    machines: Mutex<BTreeMap<Host, Machine>>,
    wires: Mutex<Wires>,
    judge: Mutex<Judge>,
    plan: Mutex<Plan>,
    dice: Mutex<SplitMix>,
}

impl Grid {
    pub(crate) fn new(scenario: Scenario, trace: Trace, mistake: Option<Mistake>) -> Self {
        let machine = |host: Host| {
            let seed = scenario.seed.wrapping_mul(1_000).wrapping_add(host.0);
            (host, Machine::new(seed, scenario.sync_delay_max))
        };
        Self {
            machines: Mutex::new(scenario.hosts().map(machine).collect()),
            wires: Mutex::new(Wires::new(&scenario)),
            judge: Mutex::new(Judge::new(&scenario)),
            plan: Mutex::default(),
            dice: Mutex::new(SplitMix(scenario.seed)),
            trace,
            mistake,
            scenario,
        }
    }

    pub(crate) fn machines(&self) -> MutexGuard<'_, BTreeMap<Host, Machine>> {
        lock(&self.machines)
    }

    pub(crate) fn wires(&self) -> MutexGuard<'_, Wires> {
        lock(&self.wires)
    }

    pub(crate) fn judge(&self) -> MutexGuard<'_, Judge> {
        lock(&self.judge)
    }

    pub(crate) fn plan(&self) -> MutexGuard<'_, Plan> {
        lock(&self.plan)
    }

    pub(crate) fn dice(&self) -> MutexGuard<'_, SplitMix> {
        lock(&self.dice)
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.dice().below(bound)
    }

    /// Random bytes for something that begins.
    pub(crate) fn seed(&self) -> [u8; 32] {
        let mut seed = [0; 32];
        for chunk in seed.chunks_mut(8) {
            chunk.copy_from_slice(&self.dice().next().to_le_bytes());
        }
        seed
    }

    pub(crate) fn now(&self) -> Duration {
        self.trace.now()
    }

    /// The machine of a node.
    pub(crate) fn host_of(&self, node: NodeId) -> Option<Host> {
        let plan = self.plan();
        let mut found = plan.ids.iter().filter(|(_, id)| **id == node);
        found.next().map(|(host, _)| *host)
    }

    /// Nothing has happened to a node for a while that could make it seem dead.
    pub(crate) fn is_innocent(&self, node: NodeId) -> bool {
        let lately = Duration::from_millis(INNOCENT_AFTER_MS);
        let now = self.now();
        self.host_of(node)
            .is_some_and(|host| self.wires().is_innocent(host, now, lately))
    }

    /// A takeover or a move got so far, at that host.
    pub(crate) fn step_of_takeover(&self, step: Step, host: Host) {
        self.plan().steps.push((step, host));
    }

    /// Dropped where the node is not there, or has not followed the last ones.
    pub(crate) fn order(&self, host: Host, order: Order) {
        if let Some(orders) = self.plan().orders.get(&host) {
            let _ = orders.try_send(order);
        }
    }

    /// It is up for long enough.
    pub(crate) fn takes_orders(&self, host: Host) -> bool {
        let plan = self.plan();
        plan.orders
            .get(&host)
            .is_some_and(|orders| !orders.is_closed())
    }

    /// The receiving end, of a process that begins.
    pub(crate) fn take_orders(&self, host: Host) -> mpsc::Receiver<Order> {
        // overflow: DROPS the order.
        let (sender, receiver) = mpsc::channel(ORDERS_MAX);
        self.plan().orders.insert(host, sender);
        receiver
    }
}
