//! Names and numbers of the cluster. `…Name` is given by users, `…Id` and `…Sid` are issued; all
//! cross node boundaries and have a place in the log's encoding.

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[derive(PartialOrd, Ord)]
        #[rkyv(derive(PartialEq, Eq, PartialOrd, Ord))]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
        #[derive(PartialOrd, Ord)]
        #[rkyv(derive(PartialEq, Eq, PartialOrd, Ord))]
        pub struct $name(pub String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_string())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

number!(
    /// One life of a machine's disk in this cluster: issued once, never again. A machine whose disk
    /// was lost or found corrupt comes back under a new one.
    NodeId, "n");
number!(
    /// A fencing token. One counter serves rooms, leases and jobs, so that a later owner always has
    /// a higher one and no two things ever share one.
    Epoch, "e");
number!(
    /// A position in the log.
    LogIndex, "#");

text!(
    /// As users know a room.
    RoomName);
text!(
    /// One life of a room (`RM_…`).
    RoomSid);
text!(
    /// `EG_…`, `IN_…`, `AJ_…`.
    JobId);
text!(
    /// A duty exactly one node performs.
    LeaseName);
text!(
    /// Of a configuration value.
    ValueKey);

/// Who asked, and the how-manieth time: the same pair is applied once.
#[derive(
    Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord,
)]
#[rkyv(derive(PartialEq, Eq, PartialOrd, Ord))]
pub struct RequestId {
    /// Random, drawn once by each process.
    pub client: u64,
    pub number: u64,
}
