//! How a node comes into the cluster: it asks every listed master who it is; one that knows a
//! cluster takes it in as learner. The first in the list founds one, if all others answered and
//! none of them knows any: two clusters from one list must not come to be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use consensus::ids::NodeId;
use futures_util::future::join_all;
use tokio::time::timeout;

use super::Membership;
use super::messages::{Introduction, Question, decode, encode};
use crate::cluster::limits::{ENTRY_PATIENCE, MEMBERSHIP_PATIENCE};
use crate::cluster::links::{Links, Service};

/// What the other listed masters said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Round {
    /// Of a cluster, and of which.
    settled: Vec<(NodeId, Option<String>)>,
    /// Of none, and first in their own list.
    founders: Vec<String>,
    /// Did not answer, with the reason.
    silent: BTreeMap<String, String>,
}

/// What follows from it.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Ask(Vec<NodeId>),
    Found,
    Wait(String),
}

/// `own`: the cluster this node was in before.
fn decide(round: Round, founder: bool, own: Option<&String>) -> Step {
    let clusters: BTreeSet<&String> = round
        .settled
        .iter()
        .filter_map(|(_, generation)| generation.as_ref())
        .chain(own)
        .collect();
    if clusters.len() > 1 {
        return Step::Wait(
            "the masters in cluster.join are of two clusters with the same token: one of them \
             lost its disk and founded another. Stop it, delete its cluster.directory, and give \
             all nodes the whole list"
                .into(),
        );
    }
    if !round.settled.is_empty() {
        return Step::Ask(round.settled.into_iter().map(|(node, _)| node).collect());
    }
    let silent: Vec<String> = round
        .silent
        .iter()
        .map(|(address, reason)| format!("{address} ({reason})"))
        .collect();
    let silent = silent.join(", ");
    if !founder {
        return Step::Wait(match silent.is_empty() {
            true => "no master knows a cluster yet: the first in cluster.join founds it".into(),
            false => format!("no master that answers knows a cluster; silent: {silent}"),
        });
    }
    if !round.founders.is_empty() {
        let others = round.founders.join(", ");
        return Step::Wait(format!(
            "this node and {others} are each the first in their cluster.join: give all nodes \
             the same list"
        ));
    }
    match round.silent.is_empty() {
        true => Step::Found,
        false => Step::Wait(format!(
            "this node founds the cluster once all others in cluster.join have said that they \
             know none; silent: {silent}. Start them, or take them out of the list"
        )),
    }
}

impl Membership {
    /// One try; `Err` says why it must be tried again.
    pub(super) async fn try_enter(&self) -> Result<(), String> {
        let (round, founder) = self.ask_around().await;
        let generation = self.generation();
        let founder = founder && self.settings.info.roles.master;
        match decide(round, founder, generation.as_ref()) {
            Step::Wait(reason) => Err(reason),
            Step::Found => {
                let address = &self.settings.info.address;
                let founded = self.cluster.bootstrap(address).await;
                founded.map_err(|error| format!("founding the cluster: {error}"))?;
                tracing::info!(node = self.node().0, address, "founded a new cluster");
                Ok(())
            }
            Step::Ask(masters) => {
                let mut last = String::new();
                for master in masters {
                    match self.ask_to_join(master).await {
                        Ok(()) => return self.await_entry().await,
                        Err(reason) => last = reason,
                    }
                }
                Err(last)
            }
        }
    }

    /// This node is a voter or a learner, as far as its own log says.
    pub(super) fn is_in(&self) -> bool {
        let status = self.cluster.status();
        let me = self.node();
        status.voters.contains(&me) || status.learners.contains(&me)
    }

    async fn await_entry(&self) -> Result<(), String> {
        let me = self.node();
        let entered = self
            .cluster
            .wait_for(|status| status.voters.contains(&me) || status.learners.contains(&me));
        match timeout(ENTRY_PATIENCE, entered).await {
            Ok(_) => Ok(()),
            Err(_) => Err("was taken in, but the log does not arrive".into()),
        }
    }

    async fn ask_to_join(&self, master: NodeId) -> Result<(), String> {
        let question = Question::Join {
            node: self.node().0,
            address: self.settings.info.address.clone(),
            forwarded: false,
            generation: self.generation(),
            version_max: self.settings.info.version_max,
        };
        // The master may have to ask the leader.
        self.ask(master, &question, MEMBERSHIP_PATIENCE * 2)
            .await
            .map(|_| ())
    }

    async fn ask(
        &self,
        node: NodeId,
        question: &Question,
        within: Duration,
    ) -> Result<bytes::Bytes, String> {
        let asked = self
            .fabric
            .call(node, Service::Membership, encode(question), within);
        asked.await.map_err(|error| error.to_string())
    }

    /// Asks all other listed masters at once; whether this node is the first of the list.
    async fn ask_around(&self) -> (Round, bool) {
        let join = &self.settings.join;
        let own = &self.settings.info.address;
        let asked = join
            .iter()
            .filter(|address| *address != own)
            .map(|address| async move { (address, self.who(address).await) });
        let mut round = Round::default();
        let mut founder = join.first().is_none_or(|first| first == own);
        for (address, answer) in join_all(asked).await {
            match answer {
                // This node, under another name of its own.
                Ok(them) if them.node == self.node().0 => founder |= Some(address) == join.first(),
                Ok(them) if them.knows_cluster => {
                    round.settled.push((NodeId(them.node), them.generation));
                }
                Ok(them) if them.founder => round.founders.push(address.clone()),
                Ok(_) => {}
                Err(reason) => {
                    round.silent.insert(address.clone(), reason);
                }
            }
        }
        *self
            .founder
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = founder;
        (round, founder)
    }

    async fn who(&self, address: &str) -> Result<Introduction, String> {
        let asked = async {
            let node = self.fabric.meet(address).await?;
            let answer = self.ask(node, &Question::Who, MEMBERSHIP_PATIENCE).await?;
            decode(&answer)
        };
        let late = |_| "no answer in time".to_owned();
        timeout(MEMBERSHIP_PATIENCE * 2, asked)
            .await
            .map_err(late)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent() -> Round {
        Round {
            silent: BTreeMap::from([("m2:1".to_owned(), "nobody answered".to_owned())]),
            ..Round::default()
        }
    }

    #[test]
    fn only_the_first_founds_and_only_when_all_others_said_they_know_none() {
        assert_eq!(decide(Round::default(), true, None), Step::Found);
        assert!(matches!(
            decide(Round::default(), false, None),
            Step::Wait(_)
        ));
        assert!(matches!(decide(silent(), true, None), Step::Wait(_)));
        let founders = Round {
            founders: vec!["m2:1".into()],
            ..Round::default()
        };
        assert!(matches!(decide(founders, true, None), Step::Wait(_)));
    }

    #[test]
    fn who_knows_a_cluster_is_asked_whatever_the_others_say() {
        let settled = Round {
            settled: vec![(NodeId(7), None)],
            ..silent()
        };
        assert_eq!(decide(settled, true, None), Step::Ask(vec![NodeId(7)]));
    }

    #[test]
    fn nobody_enters_one_of_two_clusters_that_share_a_token() {
        let of = |node, generation: &str| (NodeId(node), Some(generation.to_owned()));
        let two = Round {
            settled: vec![of(7, "a"), of(8, "b")],
            ..Round::default()
        };
        assert!(matches!(decide(two, false, None), Step::Wait(_)));
        let one = || Round {
            settled: vec![of(7, "a"), (NodeId(8), None)],
            ..Round::default()
        };
        assert!(matches!(decide(one(), false, None), Step::Ask(_)));
        let other = "b".to_owned();
        assert!(matches!(decide(one(), false, Some(&other)), Step::Wait(_)));
    }
}
