//! The kinds of faults: what each is called and what it does. `world` makes them happen.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    PowerLoss,
    Kill,
    KillLeader,
    Blackout,
    StopBetweenWrites,
    SlowDisk,
    FailedSync,
    Rot,
    CutPair,
    CutOneWay,
    Isolate,
    Split,
    Loss,
    Twice,
    Latency,
    Transfer,
    Snapshot,
    Reshape,
}

impl Fault {
    pub(crate) const ALL: [Self; 18] = [
        Self::PowerLoss,
        Self::Kill,
        Self::KillLeader,
        Self::Blackout,
        Self::StopBetweenWrites,
        Self::SlowDisk,
        Self::FailedSync,
        Self::Rot,
        Self::CutPair,
        Self::CutOneWay,
        Self::Isolate,
        Self::Split,
        Self::Loss,
        Self::Twice,
        Self::Latency,
        Self::Transfer,
        Self::Snapshot,
        Self::Reshape,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PowerLoss => "power-loss",
            Self::Kill => "kill",
            Self::KillLeader => "kill-leader",
            Self::Blackout => "blackout",
            Self::StopBetweenWrites => "stop-between-writes",
            Self::SlowDisk => "slow-disk",
            Self::FailedSync => "failed-sync",
            Self::Rot => "rot",
            Self::CutPair => "cut-pair",
            Self::CutOneWay => "cut-one-way",
            Self::Isolate => "isolate",
            Self::Split => "split",
            Self::Loss => "loss",
            Self::Twice => "twice",
            Self::Latency => "latency",
            Self::Transfer => "transfer",
            Self::Snapshot => "snapshot",
            Self::Reshape => "reshape",
        }
    }

    pub(crate) fn tells(self) -> &'static str {
        match self {
            Self::PowerLoss => {
                "a machine loses power; what its disks had not synced is kept, lost or torn"
            }
            Self::Kill => "a process dies; what it wrote stays visible, synced or not",
            Self::KillLeader => "the process that leads dies, or its machine loses power",
            Self::Blackout => "all machines lose power at once",
            Self::StopBetweenWrites => {
                "a process dies between two of the next steps on its disk, then power fails"
            }
            Self::SlowDisk => "syncs of one machine take up to 300 ms for a while",
            Self::FailedSync => "syncs of one machine fail one time in ten for a while",
            Self::Rot => {
                "a byte flushed long ago changes; the process is started again and must notice"
            }
            Self::CutPair => "two machines lose each other",
            Self::CutOneWay => "one machine is not heard by another, but hears it",
            Self::Isolate => "one machine loses all others, in one direction or both",
            Self::Split => "the machines fall into two groups",
            Self::Loss => "one message in five is lost for a while",
            Self::Twice => "one message in five arrives twice for a while",
            Self::Latency => "messages take up to 250 ms for a while",
            Self::Transfer => "the leader is asked to hand over",
            Self::Snapshot => "one node is asked to take a snapshot",
            Self::Reshape => "other machines shall vote from now on",
        }
    }
}
