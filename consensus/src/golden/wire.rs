//! Golden bytes of what voters write to their disks and send to each other.

use super::compare;
use crate::command::{Outcome, Refusal, Room};
use crate::encoding::{Content, decode, encode};
use crate::ids::{Epoch, NodeId};
use crate::raft::wire::{
    Reply, Request, WireEntry, WireLogId, WireMembership, WirePayload, WireSnapshotMeta, WireVote,
};
use crate::store::Identity;

const VOTE: WireVote = WireVote {
    term: 3,
    node: NodeId(7),
    committed: true,
};
const LOG_ID: WireLogId = WireLogId {
    term: 3,
    node: NodeId(7),
    index: 41,
};

fn membership() -> WireMembership {
    WireMembership {
        voters: vec![vec![NodeId(7)], vec![NodeId(7), NodeId(8)]],
        nodes: vec![
            (NodeId(7), "10.0.0.1:7890".into()),
            (NodeId(8), "10.0.0.2:7890".into()),
        ],
    }
}

fn entries() -> Vec<(&'static str, WireEntry)> {
    let entry = |payload| WireEntry {
        log_id: LOG_ID,
        payload,
    };
    vec![
        ("wire.entry.blank", entry(WirePayload::Blank)),
        (
            "wire.entry.command",
            entry(WirePayload::Command(vec![1, 2, 3])),
        ),
        (
            "wire.entry.membership",
            entry(WirePayload::Membership(membership())),
        ),
    ]
}

fn meta() -> WireSnapshotMeta {
    WireSnapshotMeta {
        last: Some(LOG_ID),
        membership_at: Some(LOG_ID),
        membership: membership(),
    }
}

fn requests() -> Vec<(&'static str, Request)> {
    let (vote, last) = (VOTE, Some(LOG_ID));
    let transfer = false;
    vec![
        (
            "wire.request.append",
            Request::Append {
                vote,
                previous: last,
                entries: entries().into_iter().map(|(_, entry)| entry).collect(),
                commit: None,
            },
        ),
        (
            "wire.request.vote",
            Request::Vote {
                vote,
                last,
                transfer,
            },
        ),
        (
            "wire.request.pre_vote",
            Request::PreVote {
                vote,
                last,
                transfer,
            },
        ),
        (
            "wire.request.snapshot",
            Request::Snapshot {
                vote,
                meta: meta(),
                state: vec![9; 20],
            },
        ),
        (
            "wire.request.transfer_leader",
            Request::TransferLeader {
                from: vote,
                to: NodeId(8),
                last,
            },
        ),
        (
            "wire.request.propose",
            Request::Propose {
                command: vec![1, 2, 3],
            },
        ),
        ("wire.request.read_index", Request::ReadIndex),
        (
            "wire.request.propose_after",
            Request::ProposeAfter {
                command: vec![1, 2, 3],
                after: 40,
            },
        ),
        (
            "wire.request.hand_on",
            Request::HandOn {
                request: vec![1, 2, 3],
            },
        ),
    ]
}

fn raft_replies() -> Vec<(&'static str, Reply)> {
    let (vote, last) = (VOTE, Some(LOG_ID));
    vec![
        ("wire.reply.appended", Reply::Appended),
        ("wire.reply.appended_up_to", Reply::AppendedUpTo(last)),
        ("wire.reply.conflict", Reply::Conflict),
        ("wire.reply.higher_vote", Reply::HigherVote(vote)),
        (
            "wire.reply.voted",
            Reply::Voted {
                vote,
                granted: true,
                last,
            },
        ),
        ("wire.reply.installed", Reply::Installed { vote }),
        ("wire.reply.transferred", Reply::Transferred),
        (
            "wire.reply.transfer_vote_changed",
            Reply::TransferVoteChanged {
                expected: vote,
                actual: vote,
            },
        ),
        (
            "wire.reply.transfer_not_flushed",
            Reply::TransferNotFlushed {
                expected: last,
                actual: None,
            },
        ),
    ]
}

fn other_replies() -> Vec<(&'static str, Reply)> {
    let room = Room {
        sid: "RM_7hYxQ2kVn3Bd".into(),
        home: NodeId(7),
        standby: None,
        epoch: Epoch(9),
    };
    let proposed = |answer| Reply::Proposed { index: 41, answer };
    let refused = Refusal::StaleEpoch {
        presented: Epoch(8),
        current: Epoch(9),
    };
    let created = true;
    vec![
        (
            "wire.reply.proposed",
            proposed(Ok(Outcome::Room { room, created })),
        ),
        ("wire.reply.refused", proposed(Err(refused))),
        ("wire.reply.read_at", Reply::ReadAt(Some(42))),
        ("wire.reply.not_leader", Reply::NotLeader),
        ("wire.reply.failed", Reply::Failed("no".into())),
        ("wire.reply.late", Reply::Late(43)),
    ]
}

#[test]
fn what_voters_write_and_send_is_as_in_version_1() {
    let mut now = vec![
        ("wire.vote", encode(Content::Vote, &VOTE)),
        ("wire.log_id", encode(Content::LogId, &LOG_ID)),
        ("wire.snapshot_meta", encode(Content::SnapshotMeta, &meta())),
    ];
    let identity = Identity {
        cluster: 5,
        node: NodeId(7),
    };
    now.push(("wire.identity", encode(Content::Identity, &identity)));
    for (name, entry) in entries() {
        now.push((name, encode(Content::Entry, &entry)));
    }
    for (name, request) in requests() {
        now.push((name, encode(Content::Message, &request)));
    }
    for (name, reply) in raft_replies().into_iter().chain(other_replies()) {
        now.push((name, encode(Content::Message, &reply)));
    }
    let now: Vec<_> = now
        .into_iter()
        .map(|(n, b)| (n.to_string(), b.unwrap()))
        .collect();
    let golden = compare(1, "wire.", &now);
    for (name, entry) in entries() {
        let read: WireEntry = decode(Content::Entry, &golden[name]).unwrap();
        assert_eq!(read, entry, "{name}");
    }
    for (name, request) in requests() {
        let read: Request = decode(Content::Message, &golden[name]).unwrap();
        assert_eq!(read, request, "{name}");
    }
    for (name, reply) in raft_replies().into_iter().chain(other_replies()) {
        let read: Reply = decode(Content::Message, &golden[name]).unwrap();
        assert_eq!(read, reply, "{name}");
    }
    let vote: WireVote = decode(Content::Vote, &golden["wire.vote"]).unwrap();
    assert_eq!(vote, VOTE);
    let read: WireSnapshotMeta =
        decode(Content::SnapshotMeta, &golden["wire.snapshot_meta"]).unwrap();
    assert_eq!(read, meta());
    let read: Identity = decode(Content::Identity, &golden["wire.identity"]).unwrap();
    assert_eq!(read, identity);
}
