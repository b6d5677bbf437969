//! What a report amounts to: how many may be lost, what is wrong, what to do. Pure.

use std::collections::BTreeSet;

use super::{NodeReport, Problem, Report};

/// A follower that lacks more is not keeping up.
const LAG_MAX: u64 = 2_000;

pub(super) fn assess(mut report: Report) -> Report {
    let voters: Vec<&NodeReport> = report.nodes.iter().filter(|n| n.votes()).collect();
    let alive = voters.iter().filter(|n| n.lives()).count();
    report.voters = voters.len();
    report.voters_alive = alive;
    report.quorum = voters.len() / 2 + 1;
    // The old voters must agree too, and they may be few.
    let lasting = !report.changing;
    report.spare = if lasting {
        alive.saturating_sub(report.quorum)
    } else {
        0
    };
    report.verdict = verdict(&report);
    report.problems = problems(&report);
    report
}

fn verdict(report: &Report) -> String {
    let (alive, voters, quorum) = (report.voters_alive, report.voters, report.quorum);
    let of = format!("{alive} of {voters} voters answer, {quorum} are needed");
    if report.leader.is_none() {
        return format!(
            "nobody leads ({of}): rooms that run go on, but none can be opened or moved"
        );
    }
    if report.changing {
        return format!("who votes changes: for a moment no voter may be lost ({of})");
    }
    match report.spare {
        0 if voters == 1 => "one voter: without it no room can be opened".into(),
        0 => format!("no further voter may be lost ({of})"),
        1 => format!("any one voter may be lost ({of})"),
        spare => format!("any {spare} voters may be lost at once ({of})"),
    }
}

fn problems(report: &Report) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut say = |what: String, advice: &str| {
        let advice = advice.to_owned();
        found.push(Problem { what, advice });
    };
    if report.leader.is_none() && report.voters_alive < report.quorum {
        let missing = report.quorum - report.voters_alive;
        say(
            format!("the cluster has no quorum: {missing} more voters must answer"),
            "start the voters that are silent, on the disks they had; see what their logs say",
        );
    } else if report.leader.is_none() {
        say(
            "nobody leads although enough voters answer".into(),
            "an election takes a second; if it lasts, open UDP between all nodes at their \
             cluster addresses",
        );
    }
    for node in &report.nodes {
        about(node, &mut say);
    }
    let masters = report.nodes.iter().filter(|n| n.master && n.lives());
    let (masters, settled) = (masters.count(), report.voters % 2 == 1);
    if report.leader.is_some() && masters >= 2 && (!settled || report.voters < 3) {
        say(
            format!("{} voters: as safe as one fewer", report.voters),
            "voters change by themselves within some 15 seconds; with two masters add a third, \
             or a media node that may be a witness",
        );
    }
    let versions: BTreeSet<&str> = report
        .nodes
        .iter()
        .map(|node| node.version.as_str())
        .filter(|version| !version.is_empty())
        .collect();
    if versions.len() > 1 {
        let versions: Vec<&str> = versions.into_iter().collect();
        say(
            format!("nodes run different versions: {}", versions.join(", ")),
            "finish the upgrade: what is new is used once all nodes understand it",
        );
    }
    found
}

fn about(node: &NodeReport, say: &mut impl FnMut(String, &str)) {
    let name = node.name();
    let silent = match node.silent_ms {
        Some(u64::MAX) => "since this leader leads".to_owned(),
        Some(ms) => format!("for {} s", ms / 1_000),
        None => "now".to_owned(),
    };
    let gone = "start it; if it does not come back, `skein node remove` takes it out";
    match node.state.as_str() {
        "dead" => say(format!("{name} is dead: its rooms have moved"), gone),
        _ if !node.lives() => say(format!("{name} is silent ({silent})"), gone),
        "joining" => say(
            format!("{name} is joining: it gets no rooms yet"),
            "it takes part within seconds; if it lasts, see what its log says",
        ),
        "unregistered" => say(
            format!("{name} follows the log but has not registered"),
            "it registers within seconds, or is let go of after a minute",
        ),
        "draining" if node.rooms == Some(0) => say(
            format!("{name} is drained"),
            "stop it, or give it work again with `skein node undrain`",
        ),
        _ if node.lag.is_some_and(|lag| lag > LAG_MAX) => say(
            format!("{name} lacks {} entries", node.lag.unwrap_or(0)),
            "its disk or its network is too slow; see its load",
        ),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u64, vote: &str, silent_ms: u64) -> NodeReport {
        NodeReport {
            id,
            master: vote != "witness",
            media: true,
            state: "active".into(),
            vote: vote.into(),
            silent_ms: Some(silent_ms),
            ..NodeReport::default()
        }
    }

    fn five() -> Report {
        let votes = ["leader", "voter", "voter", "voter", "witness"];
        let nodes = votes.iter().zip(1..).map(|(vote, id)| node(id, vote, 10));
        Report {
            leader: Some(1),
            nodes: nodes.collect(),
            ..Report::default()
        }
    }

    #[test]
    fn four_masters_and_a_witness_may_lose_two_and_then_one_and_then_none() {
        let mut report = assess(five());
        assert_eq!((report.voters, report.quorum, report.spare), (5, 3, 2));
        assert_eq!(report.problems, []);
        assert!(report.verdict.starts_with("any 2 voters"));
        for (lost, spare) in [(1, 1), (2, 0)] {
            report.nodes[lost].silent_ms = Some(20_000);
            report = assess(report);
            assert_eq!((report.spare, report.problems.len()), (spare, lost));
        }
        assert!(report.verdict.starts_with("no further voter"));
    }

    #[test]
    fn while_voters_change_none_may_be_lost() {
        let mut report = five();
        report.changing = true;
        report = assess(report);
        assert_eq!((report.voters, report.spare), (5, 0));
        assert!(report.verdict.starts_with("who votes changes"));
    }

    #[test]
    fn without_a_leader_it_says_how_many_must_come_back() {
        let mut report = five();
        report.leader = None;
        for node in &mut report.nodes {
            node.silent_ms = None;
            node.answers = Some(node.id <= 2);
        }
        let report = assess(report);
        assert!(report.verdict.starts_with("nobody leads (2 of 5"));
        let first = &report.problems[0];
        assert!(first.what.contains("1 more voter"), "{first:?}");
    }

    #[test]
    fn one_node_alone_has_nothing_wrong() {
        let report = assess(Report {
            leader: Some(1),
            nodes: vec![node(1, "leader", 0)],
            ..Report::default()
        });
        assert_eq!((report.spare, report.problems.len()), (0, 0));
        assert!(report.verdict.starts_with("one voter"));
    }
}
