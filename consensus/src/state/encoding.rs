//! The state as bytes. Version 2 has the mandates of standbys; version 1 is read, and written as
//! long as a node of the cluster knows no other. Rooms read from it have no mandates: nobody takes
//! them over with what was known of them, until their standbys are appointed anew.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rkyv::{Archive, Deserialize, Serialize};

use super::{Answer, Job, Lease, Node, State, Value};
use crate::command::Room;
use crate::encoding::{Content, EncodingError, decode_as, encode_as, version};
use crate::ids::{JobId, LeaseName, NodeId, RequestId, RoomName, ValueKey};

const FIRST: u16 = 1;
const SECOND: u16 = 2;

/// As the first version wrote it.
#[derive(Archive, Serialize, Deserialize)]
struct StateV1 {
    nodes: BTreeMap<NodeId, Node>,
    rooms: BTreeMap<RoomName, Room>,
    leases: BTreeMap<LeaseName, Lease>,
    jobs: BTreeMap<JobId, Job>,
    values: BTreeMap<ValueKey, Value>,
    bytes: u64,
    epoch: u64,
    next_id: u64,
    removed_nodes: BTreeSet<NodeId>,
    removed_below: u64,
    answers: BTreeMap<RequestId, Answer>,
    remembered: VecDeque<RequestId>,
}

impl From<State> for StateV1 {
    fn from(state: State) -> Self {
        Self {
            nodes: state.nodes,
            rooms: state.rooms,
            leases: state.leases,
            jobs: state.jobs,
            values: state.values,
            bytes: state.bytes,
            epoch: state.epoch,
            next_id: state.next_id,
            removed_nodes: state.removed_nodes,
            removed_below: state.removed_below,
            answers: state.answers,
            remembered: state.remembered,
        }
    }
}

impl From<StateV1> for State {
    fn from(state: StateV1) -> Self {
        Self {
            nodes: state.nodes,
            rooms: state.rooms,
            leases: state.leases,
            jobs: state.jobs,
            values: state.values,
            bytes: state.bytes,
            epoch: state.epoch,
            next_id: state.next_id,
            removed_nodes: state.removed_nodes,
            removed_below: state.removed_below,
            answers: state.answers,
            remembered: state.remembered,
            mandates: BTreeMap::new(),
        }
    }
}

/// The state in its envelope, in the newest version all its nodes understand.
pub fn encode_state(state: &State) -> Result<Vec<u8>, EncodingError> {
    match state.common_version() {
        ..=FIRST => encode_as(Content::State, FIRST, &StateV1::from(state.clone())),
        _ => encode_as(Content::State, SECOND, state),
    }
}

/// The state out of its envelope.
pub fn decode_state(bytes: &[u8]) -> Result<State, EncodingError> {
    match version(Content::State, bytes)? {
        FIRST => decode_as::<StateV1>(Content::State, FIRST, bytes).map(State::from),
        SECOND => decode_as(Content::State, SECOND, bytes),
        found => Err(EncodingError::TooNew {
            found,
            known: SECOND,
        }),
    }
}
