//! Keys the control plane issues and the packet plane looks things up by. A key is valid in one
//! process only; what crosses a node boundary is a sid.

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u64);
    };
}

key!(
    /// One peer connection's packet path.
    TransportKey
);
key!(
    /// One codec of one publication as it arrives from its publisher (all its layers).
    TrackKey
);
key!(
    /// One track on its way to one subscriber.
    DownTrackKey
);
key!(
    /// Where relayed tracks come from or go to: another shard, another node.
    LinkKey
);
key!(
    /// One room; all its transports live on one shard until it outgrows it.
    RoomKey
);
