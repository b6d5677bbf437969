//! From the log to what `operator::drain` looks at. Pure.

use std::collections::{BTreeMap, BTreeSet};

use consensus::command::NodeState;
use consensus::ids::{NodeId, RoomName};
use consensus::state::State;
use operator::drain::{Leaving, Record, RoomLeft, UNCOUNTED, View};

/// Participants by room, as each home last said.
pub(super) type Counts = BTreeMap<RoomName, u32>;

/// What the log says of a drain, and its version. One that cannot be read is as good as none.
pub(super) fn record(state: &State, node: NodeId) -> Option<(Record, u64)> {
    let value = state.value(&Record::key(node))?;
    let record = Record::decode(&value.bytes).ok()?;
    Some((record, value.version))
}

/// `may_go`: whether the quorum would do without a node's vote.
pub(super) fn view(
    state: &State,
    voters: &BTreeSet<NodeId>,
    counts: &Counts,
    may_go: impl Fn(NodeId) -> bool,
) -> View {
    let draining = state
        .nodes()
        .filter(|(_, n)| n.state == NodeState::Draining);
    let leaving = |(node, known): (NodeId, &consensus::state::Node)| {
        let jobs = state.jobs();
        let jobs = jobs.filter(|(_, job)| job.owner == Some(node) && !job.state.is_over());
        let leaving = Leaving {
            state: known.state,
            record: record(state, node).map(|(record, _)| record),
            jobs: u32::try_from(jobs.count()).unwrap_or(u32::MAX),
            votes: voters.contains(&node),
            vote_may_go: may_go(node),
        };
        (node, leaving)
    };
    let nodes: BTreeMap<NodeId, Leaving> = draining.map(leaving).collect();
    let rooms = state
        .rooms()
        .filter(|(_, room)| nodes.contains_key(&room.home));
    let rooms = rooms.map(|(name, room)| RoomLeft {
        name: name.clone(),
        epoch: room.epoch,
        home: room.home,
        participants: counts.get(name).copied().unwrap_or(UNCOUNTED),
    });
    let takes = |n: &consensus::state::Node| n.info.roles.media && n.takes_work();
    let takers = state.nodes().filter(|(_, n)| takes(n)).count();
    View {
        rooms: rooms.collect(),
        takers: u32::try_from(takers).unwrap_or(u32::MAX),
        quorum: true,
        nodes,
    }
}

/// Whether anything drains at all: a look that costs nothing.
pub(super) fn is_idle(state: &State) -> bool {
    !state.nodes().any(|(_, n)| n.state == NodeState::Draining)
}
