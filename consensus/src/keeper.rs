//! The quorum keeper: which one change of voters or of leadership should be made now, as a pure
//! decision on an immutable view. The leader's shell asks once a second and carries it out.
//! Voters stay odd, at least three where there are three to be had, spread over zones; a dead one
//! is replaced or demoted, a returning one waits as learner until it is stable and caught up.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::command::{NodeState, Roles, VoterWish};
use crate::ids::NodeId;

/// A voter that is silent for longer is replaced.
pub const DEAD_AFTER: Duration = Duration::from_secs(10);
/// A learner must answer for this long before it votes.
pub const STABLE_AFTER: Duration = Duration::from_secs(10);
/// A learner that lacks more entries than this does not vote yet.
pub const LAG_ENTRIES_MAX: u64 = 250;
/// Four masters and a witness: any two may die at once.
pub const WITNESSES_FEW: usize = 1;
/// Four masters and three witnesses: any three may die at once.
pub const WITNESSES_MANY: usize = 3;
/// More voters make every commit slower and help no more.
pub const VOTERS_MAX: usize = 7;

/// One node as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub node: NodeId,
    pub roles: Roles,
    pub zone: String,
    pub state: NodeState,
    pub wish: VoterWish,
    /// Since it last answered; zero for the leader itself.
    pub silent_for: Duration,
    /// Since it has been answering without a gap.
    pub stable_for: Duration,
    /// Entries it lacks.
    pub lag: u64,
    /// Media nodes that stay (not of an autoscaling group that takes them away daily) are witnesses
    /// first.
    pub long_lived: bool,
}

impl Member {
    fn is_dead(&self) -> bool {
        self.silent_for > DEAD_AFTER || self.state == NodeState::Dead
    }

    fn wants_out(&self) -> bool {
        self.wish == VoterWish::Never || self.state == NodeState::Draining
    }

    /// May be made a voter now.
    fn is_ready(&self) -> bool {
        !self.is_dead()
            && !self.wants_out()
            && self.state == NodeState::Active
            && self.stable_for >= STABLE_AFTER
            && self.lag <= LAG_ENTRIES_MAX
    }
}

/// What the leader knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub leader: NodeId,
    pub voters: BTreeSet<NodeId>,
    /// Both an old and a new set vote, as whoever began a change did not live to end it: it is
    /// ended by changing to what is wanted now. Ask again only when your own change has come to an
    /// end.
    pub changing: bool,
    /// Were asked to lead lately, and do not: others are tried first, and what else is due.
    pub refused: BTreeSet<NodeId>,
    pub members: BTreeMap<NodeId, Member>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Exactly these vote from now on; the others follow as learners.
    SetVoters(BTreeSet<NodeId>),
    /// First: the leader itself is to stop voting, or a witness leads although a master could.
    TransferLeadership(NodeId),
}

/// The next step, if one is needed.
pub fn decide(view: &View) -> Option<Decision> {
    if let Some(heir) = heir(view) {
        return Some(Decision::TransferLeadership(heir));
    }
    let wanted = wanted_voters(view);
    let settled = wanted == view.voters && !view.changing;
    if settled || !is_safe(view, &wanted) {
        return None;
    }
    // Never the leader itself: it would end in the middle of the change.
    wanted
        .contains(&view.leader)
        .then_some(Decision::SetVoters(wanted))
}

/// Whether this node may be taken away: the group keeps a living majority and a master without it.
pub fn may_leave(view: &View, node: NodeId) -> bool {
    if !view.voters.contains(&node) {
        return true;
    }
    let left: Vec<&Member> = view
        .voters
        .iter()
        .filter(|voter| **voter != node)
        .filter_map(|voter| view.members.get(voter))
        .filter(|member| !member.is_dead())
        .collect();
    left.iter().any(|member| member.roles.master) && left.len() > (view.voters.len() - 1) / 2
}

/// Who should lead instead of the present leader.
fn heir(view: &View) -> Option<NodeId> {
    let leader = view.members.get(&view.leader)?;
    let leaves = leader.wants_out();
    let witness = !leader.roles.master;
    if !leaves && !witness {
        return None;
    }
    let able = |member: &&Member| {
        member.node != view.leader
            && !view.refused.contains(&member.node)
            && view.voters.contains(&member.node)
            && !member.is_dead()
            && !member.wants_out()
            && member.lag <= LAG_ENTRIES_MAX
            && (leaves || member.roles.master)
    };
    let best = view
        .members
        .values()
        .filter(able)
        .min_by_key(|member| (Reverse(member.roles.master), member.lag, member.node));
    best.map(|member| member.node)
}

/// Masters first, then witnesses, an odd number of them, spread over zones.
fn wanted_voters(view: &View) -> BTreeSet<NodeId> {
    let stays = |member: &Member| {
        let votes = view.voters.contains(&member.node);
        // Who votes keeps its vote through a short silence; who does not must earn it.
        (votes && !member.is_dead() && !member.wants_out()) || member.is_ready()
    };
    let mut wanted = pick(view, VOTERS_MAX, &[], |m| m.roles.master && stays(m));
    let media = |m: &Member| !m.roles.master && m.roles.media && stays(m);
    let witnesses = pick(view, VOTERS_MAX - wanted.len(), &wanted, media);
    let long_lived = view
        .members
        .values()
        .filter(|m| media(m) && m.long_lived)
        .count();
    let count = witness_count(view, wanted.len(), witnesses.len(), long_lived);
    wanted.extend(witnesses.into_iter().take(count));
    make_odd(view, &mut wanted);
    wanted.into_iter().collect()
}

/// How many of the possible witnesses vote beside so many masters.
fn witness_count(view: &View, masters: usize, possible: usize, long_lived: usize) -> usize {
    if masters <= 1 && view.voters.len() < 3 {
        // A single master that never had company: a witness would only be one more to lose.
        return 0;
    }
    let usual = if masters >= 4 && long_lived >= WITNESSES_MANY {
        WITNESSES_MANY
    } else {
        WITNESSES_FEW
    };
    // Three voters at least; one witness more rather than a master less to stay odd.
    let count = usual.max(3_usize.saturating_sub(masters));
    if (masters + count).is_multiple_of(2) && count < possible && count < masters {
        return count + 1;
    }
    count
}

/// An even group survives no more losses than one voter fewer, and loses its majority sooner.
fn make_odd(view: &View, wanted: &mut Vec<NodeId>) {
    if !wanted.len().is_multiple_of(2) || wanted.is_empty() {
        return;
    }
    // Of two that vote, each has what was acknowledged: one alone would be the only copy.
    if wanted.len() == 2 && wanted.iter().all(|node| view.voters.contains(node)) {
        return;
    }
    // The last picked is the least useful; the leader stays.
    let drop = wanted.iter().rposition(|node| *node != view.leader);
    if let Some(at) = drop {
        wanted.remove(at);
    }
}

/// Present voters first (every change costs), then zones that have none yet, then the oldest.
fn pick(view: &View, max: usize, taken: &[NodeId], fits: impl Fn(&Member) -> bool) -> Vec<NodeId> {
    let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
    for member in taken.iter().filter_map(|node| view.members.get(node)) {
        *zones.entry(member.zone.as_str()).or_default() += 1;
    }
    let mut left: Vec<&Member> = view.members.values().filter(|m| fits(m)).collect();
    let mut picked = Vec::new();
    while picked.len() < max {
        let best = left.iter().enumerate().min_by_key(|(_, member)| {
            let crowd = zones.get(member.zone.as_str()).copied().unwrap_or(0);
            let votes = view.voters.contains(&member.node);
            let leads = member.node == view.leader;
            (
                Reverse(leads),
                Reverse(votes),
                crowd,
                Reverse(member.long_lived),
                member.node,
            )
        });
        let Some((at, member)) = best.map(|(at, member)| (at, *member)) else {
            break;
        };
        *zones.entry(member.zone.as_str()).or_default() += 1;
        picked.push(member.node);
        left.remove(at);
    }
    picked
}

/// A change is made only if the living can commit it and can go on afterwards.
fn is_safe(view: &View, wanted: &BTreeSet<NodeId>) -> bool {
    let living = |voters: &BTreeSet<NodeId>| {
        let alive = voters.iter().filter(|node| {
            view.members
                .get(node)
                .is_some_and(|member| !member.is_dead())
        });
        alive.count() * 2 > voters.len()
    };
    let shrinks_below_three = wanted.len() < 3 && view.voters.len() >= 3;
    !wanted.is_empty() && !shrinks_below_three && living(&view.voters) && living(wanted)
}

#[cfg(test)]
mod tests;
