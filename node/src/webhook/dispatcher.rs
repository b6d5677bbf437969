//! The shell of `delivery`: a thread with its own runtime that writes the outbox, posts the
//! requests and keeps time. Its own thread, because disks and receivers may be slow. Decides
//! nothing about order, retries or limits.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use metrics::{counter, histogram};
use protocol::proto::WebhookEvent;
use protocol::token::Keys;
use protocol::webhook_event;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, StatusCode, Url};
use tokio::sync::{mpsc, oneshot};

use super::delivery::{Delivery, Input, Outcome, Output, Target, Verdict};
use super::limits::{
    CONNECT_TIMEOUT, REDIRECTS_MAX, REQUEST_TIMEOUT, REQUESTS_PER_URL_MAX, SYNC_INTERVAL,
};
use super::outbox::{Outbox, OutboxError, Restored};
use super::queue::Entry;
use super::{Settings, StartError, Storage, signature};
use crate::auth::unix_seconds;

pub(super) const DISPATCH_TOTAL: &str = "livekit_webhook_dispatch_total";
const QUEUE_LENGTH: &str = "livekit_webhook_queue_length";
const USER_AGENT: &str = concat!("skein/", env!("CARGO_PKG_VERSION"));

pub(super) enum Command {
    Publish(Box<WebhookEvent>),
    Stop {
        within: Duration,
        done: oneshot::Sender<()>,
    },
}

/// One configured URL.
#[derive(Clone)]
struct Receiver {
    url: String,
    client: Client,
}

struct Dispatcher {
    core: Delivery,
    outbox: Option<Outbox>,
    receivers: Vec<Receiver>,
    keys: Keys,
    api_key: String,
}

pub(super) fn start(
    settings: Settings,
    commands: mpsc::Receiver<Command>,
) -> Result<(), StartError> {
    let api_key = settings.api_key;
    if !settings.keys.contains(&api_key) {
        return Err(StartError::Key(api_key));
    }
    let mut receivers: Vec<Receiver> = Vec::with_capacity(settings.urls.len());
    for url in &settings.urls {
        if receivers.iter().all(|known| known.url != *url) {
            receivers.push(receiver(url)?);
        }
    }
    let (outbox, restored) = open(&settings.storage)?;
    let next_sequence = outbox.as_ref().map_or(0, Outbox::next_sequence);
    let requests = settings.requests_per_url.clamp(1, REQUESTS_PER_URL_MAX);
    let core = Delivery::new(
        receivers.len(),
        settings.filter,
        requests,
        next_sequence,
        settings.seed,
    );
    let keys = settings.keys;
    let dispatcher = Dispatcher {
        core,
        outbox,
        receivers,
        keys,
        api_key,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(StartError::Thread)?;
    std::thread::Builder::new()
        .name("webhooks".into())
        .spawn(move || runtime.block_on(dispatcher.run(commands, restored)))
        .map_err(StartError::Thread)?;
    Ok(())
}

fn open(storage: &Storage) -> Result<(Option<Outbox>, Vec<Restored>), OutboxError> {
    let opened = match storage {
        Storage::Nowhere => return Ok((None, Vec::new())),
        Storage::Required(directory) => Outbox::open(directory)?,
        Storage::BestEffort(directory) => match Outbox::open(directory) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::warn!(%error, "undelivered webhooks will not outlive this process");
                return Ok((None, Vec::new()));
            }
        },
    };
    let (outbox, restored) = opened;
    Ok((Some(outbox), restored))
}

fn receiver(text: &str) -> Result<Receiver, StartError> {
    let url = Url::parse(text).map_err(|_| StartError::Scheme(text.to_owned()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(StartError::Scheme(text.to_owned()));
    }
    let mut client = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        // `Authorization`, as Go writes it: there are receivers that look for just that.
        .http1_title_case_headers()
        .redirect(Policy::custom(redirect))
        .user_agent(USER_AGENT);
    // As in Go's clients, a proxy of the environment is not asked about this very host.
    if matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) {
        client = client.no_proxy();
    }
    let client = client.build();
    let client = client.map_err(|source| StartError::Url {
        url: text.to_owned(),
        source,
    })?;
    Ok(Receiver {
        url: text.to_owned(),
        client,
    })
}

/// The other redirects turn a POST into a GET without the event: followed, they would count as
/// delivered.
fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let keeps_body = [
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    if keeps_body.contains(&attempt.status()) && attempt.previous().len() <= REDIRECTS_MAX {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

impl Dispatcher {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>, restored: Vec<Restored>) {
        let mut requests = FuturesUnordered::new();
        let mut stopping: Option<(Instant, oneshot::Sender<()>)> = None;
        let mut sync_at: Option<Instant> = None;
        for Restored { entry, urls } in restored {
            let targets = self.targets_of(&urls);
            self.settle_unknown(&entry, &urls);
            self.core
                .handle(Instant::now(), Input::Restored { entry, targets });
        }
        loop {
            while let Some(output) = self.core.poll() {
                if let Some((target, entry)) = self.carry_out(output) {
                    requests.push(self.post(target, entry));
                }
            }
            if let Some((until, _)) = &stopping
                && (!self.core.is_busy() || *until <= Instant::now())
            {
                break;
            }
            if sync_at.is_none() && self.outbox.as_ref().is_some_and(Outbox::is_unsynced) {
                sync_at = Some(Instant::now() + SYNC_INTERVAL);
            }
            let stop_at = stopping.as_ref().map(|(until, _)| *until);
            let input = tokio::select! {
                command = commands.recv(), if stopping.is_none() => match command {
                    Some(Command::Publish(event)) => Some(Input::Publish(event)),
                    Some(Command::Stop { within, done }) => {
                        stopping = Some((Instant::now() + within, done));
                        None
                    }
                    // Every handle is gone: so is the program.
                    None => break,
                },
                Some(attempted) = requests.next() => Some(attempted),
                () = sleep_until(self.core.deadline()) => Some(Input::Timeout),
                () = sleep_until(stop_at) => None,
                () = sleep_until(sync_at) => {
                    sync_at = None;
                    self.sync();
                    None
                }
            };
            if let Some(input) = input {
                self.core.handle(Instant::now(), input);
            }
        }
        self.sync();
        if let Some((_, done)) = stopping {
            // Whoever asked may have lost patience.
            let _ = done.send(());
        }
    }

    /// Nobody will ever deliver to URLs that left the configuration.
    fn settle_unknown(&mut self, entry: &Entry, urls: &[String]) {
        for url in urls {
            if self.receivers.iter().any(|known| known.url == *url) {
                continue;
            }
            tracing::warn!(url, id = %entry.event.id, "webhook given up: its URL is gone");
            let settled = self.outbox.as_mut();
            report_disk(settled.map(|outbox| outbox.settle(entry.sequence, url)));
        }
    }

    /// Configured URLs among those an event was stored for.
    fn targets_of(&self, urls: &[String]) -> Vec<Target> {
        let known = self.receivers.iter().enumerate();
        let wanted = known.filter(|(_, receiver)| urls.contains(&receiver.url));
        wanted.map(|(index, _)| Target(index)).collect()
    }

    fn url(&self, target: Target) -> &str {
        self.receivers
            .get(target.0)
            .map_or("", |receiver| &receiver.url)
    }

    fn carry_out(&mut self, output: Output) -> Option<(Target, Arc<Entry>)> {
        match output {
            Output::Store { entry, targets } => {
                for target in &targets {
                    histogram!(QUEUE_LENGTH).record(self.core.len(*target) as f64);
                }
                let urls = targets
                    .into_iter()
                    .map(|target| self.url(target).to_owned())
                    .collect();
                let stored = self.outbox.as_mut().map(|outbox| outbox.store(entry, urls));
                report_disk(stored);
                None
            }
            Output::Send { target, entry } => Some((target, entry)),
            Output::Settled {
                target,
                entry,
                verdict,
            } => {
                let url = self.url(target).to_owned();
                report(&url, &entry.event, verdict);
                let settled = self
                    .outbox
                    .as_mut()
                    .map(|outbox| outbox.settle(entry.sequence, &url));
                report_disk(settled);
                None
            }
            Output::Dropped { target } => {
                tracing::warn!(url = self.url(target), "webhook dropped: its queue is full");
                counter!(DISPATCH_TOTAL, "status" => "drop", "reason" => "overflow").increment(1);
                None
            }
        }
    }

    fn sync(&mut self) {
        report_disk(self.outbox.as_mut().map(Outbox::sync));
    }

    /// Posts one event; signed anew each time, as a signature lives for minutes only.
    fn post(&self, target: Target, entry: Arc<Entry>) -> impl Future<Output = Input> + use<> {
        let request = self.request(target, &entry.event);
        async move {
            let outcome = match request {
                Some(request) => match request.send().await {
                    Ok(response) => Outcome::Status(response.status().as_u16()),
                    Err(error) => {
                        tracing::debug!(%error, "webhook not delivered");
                        Outcome::NoAnswer
                    }
                },
                None => Outcome::NoAnswer,
            };
            Input::Attempted {
                target,
                entry,
                outcome,
            }
        }
    }

    fn request(&self, target: Target, event: &WebhookEvent) -> Option<reqwest::RequestBuilder> {
        let receiver = self.receivers.get(target.0)?;
        let body = webhook_event::body(event)
            .inspect_err(|error| tracing::error!(%error, "a webhook could not be encoded"))
            .ok()?;
        let signed = signature::sign(&self.keys, &self.api_key, &body, unix_seconds());
        let token = signed
            .inspect_err(|error| tracing::error!(%error, "a webhook could not be signed"))
            .ok()?;
        let request = receiver.client.post(&receiver.url);
        let request = request.header(AUTHORIZATION, token);
        Some(
            request
                .header(CONTENT_TYPE, "application/webhook+json")
                .body(body),
        )
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => pending().await,
    }
}

fn report(url: &str, event: &WebhookEvent, verdict: Verdict) {
    let (id, name) = (&event.id, &event.event);
    let status = match verdict {
        Verdict::Delivered => {
            tracing::debug!(url, %id, event = %name, "webhook delivered");
            "success"
        }
        Verdict::Rejected(status) => {
            tracing::warn!(url, %id, event = %name, status, "webhook rejected by its receiver");
            "failure"
        }
        Verdict::GivenUp => {
            tracing::warn!(url, %id, event = %name, "webhook given up after many tries");
            "failure"
        }
    };
    counter!(DISPATCH_TOTAL, "status" => status, "reason" => "").increment(1);
}

/// A full disk must not stop deliveries; what is at risk is only the memory of them.
fn report_disk(done: Option<std::io::Result<()>>) {
    if let Some(Err(error)) = done {
        tracing::error!(%error, "the webhook outbox cannot be written");
    }
}

#[cfg(test)]
mod tests;
