//! What the leader has seen of the others over time, as the view `consensus::keeper` decides on.
//! Time is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use consensus::cluster::Status;
use consensus::command::NodeState;
use consensus::ids::NodeId;
use consensus::keeper::{DEAD_AFTER, Member, View};
use consensus::state::State;
use tokio::time::Instant;

use crate::cluster::limits::{ANSWER_GAP, HEIR_REFUSED_LASTS};

#[derive(Clone, Copy, Debug)]
struct Seen {
    first: Instant,
    /// Has been answering since then.
    answering: Option<Instant>,
}

/// Kept by the leader while it leads.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    seen: BTreeMap<NodeId, Seen>,
    /// Who was asked to lead, and when.
    asked: BTreeMap<NodeId, Instant>,
}

impl Observer {
    /// Another leads: what was seen is worth nothing when this node leads again.
    pub(crate) fn clear(&mut self) {
        self.seen.clear();
        self.asked.clear();
    }

    /// A node was asked to lead; if this one is asked for its view again, it did not.
    pub(crate) fn asked(&mut self, node: NodeId, now: Instant) {
        self.asked.insert(node, now);
    }

    /// Raft's members, registered or not, and for how long they have been seen.
    pub(crate) fn known_for(&self, node: NodeId, now: Instant) -> Duration {
        let seen = self.seen.get(&node);
        seen.map_or(Duration::ZERO, |seen| now.duration_since(seen.first))
    }

    pub(crate) fn view(
        &mut self,
        now: Instant,
        status: &Status,
        state: &State,
        long_lived: impl Fn(NodeId) -> bool,
    ) -> View {
        let in_raft =
            |node: &NodeId| status.voters.contains(node) || status.learners.contains(node);
        self.seen.retain(|node, _| in_raft(node));
        for node in status.voters.iter().chain(&status.learners) {
            self.seen.entry(*node).or_insert(Seen {
                first: now,
                answering: None,
            });
        }
        let mut members = BTreeMap::new();
        for (node, seen) in &mut self.seen {
            let silent_for = silent_for(*node, status, seen.first, now);
            match silent_for <= ANSWER_GAP {
                true => _ = seen.answering.get_or_insert(now),
                false => seen.answering = None,
            }
            let Some(known) = state.node(*node) else {
                continue;
            };
            let progress = status.progress.get(node);
            let member = Member {
                node: *node,
                roles: known.info.roles,
                zone: known.info.zone.clone(),
                state: for_voting(known.state, silent_for),
                wish: known.wish,
                silent_for,
                stable_for: seen
                    .answering
                    .map_or(Duration::ZERO, |since| now.duration_since(since)),
                lag: match *node == status.node {
                    true => 0,
                    false => progress.and_then(|p| p.lag).unwrap_or(u64::MAX),
                },
                long_lived: long_lived(*node),
            };
            members.insert(*node, member);
        }
        self.asked
            .retain(|_, at| now.duration_since(*at) < HEIR_REFUSED_LASTS);
        View {
            leader: status.node,
            voters: status.voters.clone(),
            changing: status.changing,
            refused: self.asked.keys().copied().collect(),
            members,
        }
    }
}

/// A process that ends is found dead at once, and most are back within seconds: their vote waits
/// for them as long as for any other voter that is silent.
fn for_voting(state: NodeState, silent_for: Duration) -> NodeState {
    match state {
        NodeState::Dead if silent_for <= DEAD_AFTER => NodeState::Joining,
        state => state,
    }
}

/// Who never answered is silent since it was first seen.
fn silent_for(node: NodeId, status: &Status, first: Instant, now: Instant) -> Duration {
    if node == status.node {
        return Duration::ZERO;
    }
    let progress = status.progress.get(&node);
    let heard = progress.and_then(|progress| progress.silent_for);
    heard.unwrap_or_else(|| now.duration_since(first))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use consensus::cluster::{Role, VoterProgress};
    use consensus::command::{Action, Command, NodeInfo, Roles};
    use consensus::ids::{LogIndex, RequestId};
    use consensus::state::apply;

    use super::*;

    fn state() -> State {
        let mut state = State::default();
        for node in 1..=2 {
            let request = RequestId {
                client: 1,
                number: node,
            };
            let info = NodeInfo {
                roles: Roles {
                    master: true,
                    media: true,
                },
                address: String::new(),
                host: String::new(),
                zone: String::new(),
                region: String::new(),
                version_max: 1,
            };
            let action = Action::RegisterNode {
                node: NodeId(node),
                info,
            };
            let applied = apply(&mut state, LogIndex(node), Command { request, action });
            applied.answer.unwrap();
        }
        state
    }

    fn status(silent_for: Option<Duration>) -> Status {
        let progress = VoterProgress {
            lag: Some(0),
            silent_for,
        };
        Status {
            node: NodeId(1),
            role: Role::Leader,
            term: 1,
            leader: Some(NodeId(1)),
            voters: BTreeSet::from([NodeId(1)]),
            learners: BTreeSet::from([NodeId(2), NodeId(3)]),
            changing: false,
            last_log: None,
            committed: None,
            applied: None,
            snapshot: None,
            progress: BTreeMap::from([(NodeId(2), progress)]),
            stopped: None,
        }
    }

    #[test]
    fn a_vote_outlives_a_short_death() {
        let dead = |seconds| for_voting(NodeState::Dead, Duration::from_secs(seconds));
        assert_eq!(dead(9), NodeState::Joining);
        assert_eq!(dead(11), NodeState::Dead);
        let draining = for_voting(NodeState::Draining, Duration::ZERO);
        assert_eq!(draining, NodeState::Draining);
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_in_its_answers_makes_a_member_begin_anew() {
        let (state, mut observer) = (state(), Observer::default());
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut look = |at: u32, silent_for| {
            let now = start + second * at;
            let view = observer.view(now, &status(silent_for), &state, |_| false);
            // One who is not registered is no member.
            assert_eq!(view.members.len(), 2);
            view.members[&NodeId(2)].clone()
        };
        assert_eq!(look(0, Some(Duration::ZERO)).stable_for, Duration::ZERO);
        assert_eq!(look(8, Some(Duration::ZERO)).stable_for, second * 8);
        assert_eq!(look(12, Some(second * 4)).stable_for, Duration::ZERO);
        assert_eq!(look(13, Some(Duration::ZERO)).stable_for, Duration::ZERO);
        assert_eq!(look(14, Some(Duration::ZERO)).stable_for, second);
        assert_eq!(look(20, None).silent_for, second * 20);
    }
}
