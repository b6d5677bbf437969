//! Webhooks: rooms publish events, a thread of its own stores them on disk and posts them to every
//! configured URL until each has taken them. Rooms and receivers never wait for one another.
//!
//! The URLs come from the operator's configuration, so no SSRF filter stands before them; URLs out
//! of API requests will need one.

pub(crate) mod delivery;
mod dispatcher;
pub mod filter;
pub mod limits;
pub(crate) mod outbox;
pub(crate) mod queue;
pub(crate) mod signature;

use std::path::PathBuf;
use std::time::Duration;

use metrics::counter;
use protocol::proto;
use protocol::token::Keys;
use tokio::sync::{mpsc, oneshot};

use self::dispatcher::Command;
use self::limits::PUBLISHED_WAITING_MAX;
use crate::room::environment::WebhookSink;

pub use self::filter::Filter;
pub use self::outbox::OutboxError;

/// What delivery needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `webhook.urls`; none = events are not even stored.
    pub urls: Vec<String>,
    /// `webhook.api_key`: whose secret signs.
    pub api_key: String,
    pub keys: Keys,
    /// `webhook.filter_params`
    pub filter: Filter,
    /// `webhook.url_notifier.num_workers`: requests to one URL at a time.
    pub requests_per_url: usize,
    pub storage: Storage,
    /// Seed of the jitter; from the operating system outside of simulations.
    pub seed: u64,
}

/// Where undelivered events outlive the process. A directory belongs to one process at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    Nowhere,
    /// Chosen by the operator: without it the server does not start.
    Required(PathBuf),
    /// A default: without it events live in memory, and the log says so.
    BestEffort(PathBuf),
}

/// Webhooks cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("webhook.urls: {url}: {source}")]
    Url { url: String, source: reqwest::Error },
    #[error("webhook.urls: {0} is not an http or https URL")]
    Scheme(String),
    #[error("webhook.api_key: no API key {0:?} to sign with")]
    Key(String),
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    #[error("starting the webhook thread: {0}")]
    Thread(std::io::Error),
}

/// A handle to the delivery of webhooks.
#[derive(Clone)]
pub struct Webhooks {
    /// `None` = nobody wants events.
    commands: Option<mpsc::Sender<Command>>,
}

impl Webhooks {
    /// Opens the outbox, picks up what an earlier process left in it, and starts delivering.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        if settings.urls.is_empty() {
            return Ok(Self { commands: None });
        }
        let (sender, receiver) = mpsc::channel(PUBLISHED_WAITING_MAX);
        dispatcher::start(settings, receiver)?;
        Ok(Self {
            commands: Some(sender),
        })
    }

    /// Gives deliveries under way this long, then leaves the rest in the outbox.
    pub async fn stop(&self, within: Duration) {
        let Some(commands) = &self.commands else {
            return;
        };
        let (done, stopped) = oneshot::channel();
        if commands.send(Command::Stop { within, done }).await.is_ok() {
            // The thread drops the sender when it ends, whichever way.
            let _ = stopped.await;
        }
    }
}

impl WebhookSink for Webhooks {
    fn publish(&self, event: proto::WebhookEvent) {
        let Some(commands) = &self.commands else {
            return;
        };
        if commands
            .try_send(Command::Publish(Box::new(event)))
            .is_err()
        {
            counter!(dispatcher::DISPATCH_TOTAL, "status" => "drop", "reason" => "overflow")
                .increment(1);
        }
    }
}
