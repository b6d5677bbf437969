//! What nodes ask each other about membership, as JSON: asked rarely, and nodes of two versions
//! understand each other.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Question {
    Who,
    /// Let this node follow the log.
    Join {
        node: u64,
        address: String,
        /// Asked on behalf of another: not passed on once more.
        #[serde(default)]
        forwarded: bool,
        /// Of the cluster it was in before, if it was.
        #[serde(default)]
        generation: Option<String>,
        /// The newest version of the log that it reads.
        #[serde(default = "first_version")]
        version_max: u16,
    },
    /// What `skein cluster status` shows, as the node that is asked sees it.
    Report,
}

/// The answer to `Who`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Introduction {
    pub(crate) node: u64,
    /// It is of a cluster, or was when it was last told.
    pub(crate) knows_cluster: bool,
    /// It is the first in its own list: it would found one.
    pub(crate) founder: bool,
    /// Which cluster it is of: two that were founded with one token are two.
    #[serde(default)]
    pub(crate) generation: Option<String>,
}

/// Of programs that do not say.
fn first_version() -> u16 {
    1
}

pub(crate) fn encode(message: &impl Serialize) -> Bytes {
    // Plain structs cannot fail; an empty message is refused by whoever reads it.
    serde_json::to_vec(message).unwrap_or_default().into()
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("not understood: {error}"))
}
