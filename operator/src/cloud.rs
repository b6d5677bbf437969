//! What cloud groups are told (more machines, this machine goes) and what they say (this machine
//! will be taken). Addresses are the operator's configuration, never a client's; secrets are never
//! shown. Decides nothing.

pub mod aws;
pub mod azure;
mod bearer;
pub mod gcp;
mod http;
mod imds;
pub mod sigv4;
#[cfg(test)]
mod test_peer;
pub mod webhook;

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;

pub use http::{CloudError, client, metadata_client};

/// A group that machines come from and go back to.
pub trait Group: Send + Sync + 'static {
    /// `by` more machines, `to` in all, in this zone if the group can choose.
    fn grow<'a>(&'a self, growth: &'a Growth) -> BoxFuture<'a, Result<(), CloudError>>;

    /// This machine goes, and is not replaced. `host` is what its node registered as its host: the
    /// instance's id where the cloud asks for one.
    fn terminate<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<(), CloudError>>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Growth {
    pub by: u32,
    pub to: u32,
    pub zone: Option<String>,
    /// For people.
    pub reason: String,
}

/// The cloud takes this machine away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Time left; `None`: as long as it is told that work goes on.
    pub within: Option<Duration>,
    /// Names it to the cloud.
    pub id: String,
    /// In the cloud's words.
    pub reason: String,
}

/// What a cloud says to the machine this runs on, asked for every few seconds.
pub trait Notices: Send + Sync + 'static {
    fn poll(&self) -> BoxFuture<'_, Result<Option<Notice>, CloudError>>;

    /// Work goes on: more time.
    fn hold<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), CloudError>>;

    /// The machine may go.
    fn release<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), CloudError>>;
}

/// A key or token. Not shown by `Debug`, so that no log has it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
