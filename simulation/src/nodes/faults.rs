//! The kinds of faults of the node ring: what each is called and what it does. `troubles` makes
//! them happen.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Kill,
    PowerLoss,
    KillHome,
    KillLeader,
    KillTwoMasters,
    CutPair,
    CutOneWay,
    Isolate,
    Split,
    Hold,
    Loss,
    Latency,
    Drain,
    Restart,
    InTakeover,
}

impl Fault {
    pub(crate) const ALL: [Self; 15] = [
        Self::Kill,
        Self::PowerLoss,
        Self::KillHome,
        Self::KillLeader,
        Self::KillTwoMasters,
        Self::CutPair,
        Self::CutOneWay,
        Self::Isolate,
        Self::Split,
        Self::Hold,
        Self::Loss,
        Self::Latency,
        Self::Drain,
        Self::Restart,
        Self::InTakeover,
    ];

    /// What a network may do without anybody being dead.
    pub(crate) const PEACEFUL: [Self; 3] = [Self::Loss, Self::Latency, Self::Drain];

    /// Processes or machines end, and nothing else is done.
    pub(crate) fn is_a_death(self) -> bool {
        matches!(
            self,
            Self::Kill | Self::PowerLoss | Self::KillHome | Self::KillLeader | Self::KillTwoMasters
        )
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::PowerLoss => "power-loss",
            Self::KillHome => "kill-home",
            Self::KillLeader => "kill-leader",
            Self::KillTwoMasters => "kill-two-masters",
            Self::CutPair => "cut-pair",
            Self::CutOneWay => "cut-one-way",
            Self::Isolate => "isolate",
            Self::Split => "split",
            Self::Hold => "hold",
            Self::Loss => "loss",
            Self::Latency => "latency",
            Self::Drain => "drain",
            Self::Restart => "restart",
            Self::InTakeover => "in-takeover",
        }
    }

    pub(crate) fn tells(self) -> &'static str {
        match self {
            Self::Kill => "a process dies; its kernel closes what it had and refuses what comes",
            Self::PowerLoss => {
                "a machine is gone without a word; its disks lose what was not synced"
            }
            Self::KillHome => "the process that has a room with people dies, or its machine",
            Self::KillLeader => "the process that leads the log dies, or its machine",
            Self::KillTwoMasters => "two masters die at once",
            Self::CutPair => "two nodes lose each other",
            Self::CutOneWay => "one node is not heard by another, but hears it",
            Self::Isolate => "one node loses all others, in one direction or both; people reach it",
            Self::Split => "the nodes fall into two groups",
            Self::Hold => "nothing gets to or from a machine for a while, then everything at once",
            Self::Loss => "one datagram in five is lost for a while",
            Self::Latency => "everything takes up to 80 ms for a while",
            Self::Drain => "an operator drains a media node, and lets it serve again later",
            Self::Restart => "a process ends in an orderly way and begins again",
            Self::InTakeover => {
                "rooms lose their home or move; at a step of it somebody else dies or is cut off"
            }
        }
    }
}
