//! Azure: the size and the instances of a virtual machine scale set (uniform) by its REST API, and
//! what a machine hears of its own end from its metadata service: scheduled events.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Client, Method, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::bearer::{Bearer, below};
use super::http::send;
use super::imds::Imds;
use super::{CloudError, Group, Growth, Notice, Notices};

const COMPUTE_VERSION: &str = "2024-07-01";
const EVENTS_PATH: &str = "metadata/scheduledevents?api-version=2020-07-01";
const NAME_PATH: &str = "metadata/instance/compute/name?api-version=2021-02-01&format=text";
const TOKEN_PATH: &str = "metadata/identity/oauth2/token?api-version=2018-02-01&resource=";
const JSON: &str = "application/json";
/// Both API and audience of its tokens.
const MANAGEMENT: &str = "https://management.azure.com/";
const METADATA: &str = "http://169.254.169.254/";
const METADATA_HEADER: (&str, &str) = ("Metadata", "true");
/// What ends with the machine away, for good or for minutes. `Freeze` lasts seconds.
const ENDS: [&str; 4] = ["Terminate", "Preempt", "Redeploy", "Reboot"];

/// The metadata service of the machine this runs on.
#[derive(Clone, Debug)]
pub struct Metadata {
    imds: Imds,
    /// Of the machine; it does not change.
    name: Arc<OnceCell<String>>,
}

impl Metadata {
    pub fn new(client: Client, endpoint: Url) -> Self {
        Self::of(Imds::new(client, endpoint, METADATA_HEADER))
    }

    pub fn here(client: Client) -> Result<Self, CloudError> {
        Imds::here(client, METADATA, METADATA_HEADER).map(Self::of)
    }

    fn of(imds: Imds) -> Self {
        Self {
            imds,
            name: Arc::default(),
        }
    }

    async fn events(&self) -> Result<Vec<Event>, CloudError> {
        let said = self.imds.get(EVENTS_PATH).await?;
        let read: Document = serde_json::from_str(&said)
            .map_err(|error| CloudError::answer("scheduled events", &error.to_string()))?;
        Ok(read.events)
    }

    /// What scheduled events call this machine.
    async fn name(&self) -> Result<&str, CloudError> {
        let ask = || async {
            let name = self.imds.get(NAME_PATH).await?;
            Ok(name.trim().to_owned())
        };
        self.name.get_or_try_init(ask).await.map(String::as_str)
    }

    /// Of the managed identity, which must be one that is assigned by the system.
    fn identity(&self) -> Result<Bearer, CloudError> {
        self.imds.bearer(&format!("{TOKEN_PATH}{MANAGEMENT}"))
    }
}

/// One scale set. Its nodes have the instance's id (`3`) as their host.
#[derive(Clone, Debug)]
pub struct ScaleSet {
    client: Client,
    endpoint: Url,
    /// `/subscriptions/…/resourceGroups/…/providers/Microsoft.Compute/virtualMachineScaleSets/…`
    id: String,
    identity: Bearer,
}

impl ScaleSet {
    /// `endpoint`: that of all subscriptions, unless one of a national cloud is configured.
    pub fn new(
        client: Client,
        endpoint: Option<Url>,
        id: &str,
        metadata: &Metadata,
    ) -> Result<Self, CloudError> {
        let usual = || Url::parse(MANAGEMENT);
        let endpoint = endpoint.map_or_else(usual, Ok);
        let endpoint = endpoint.map_err(|e| CloudError::answer("azure", &e.to_string()))?;
        Ok(Self {
            client,
            endpoint,
            id: id.trim_matches('/').to_owned(),
            identity: metadata.identity()?,
        })
    }

    async fn call(
        &self,
        what: &str,
        method: Method,
        verb: &str,
        body: Option<&Value>,
    ) -> Result<String, CloudError> {
        let path = format!("{}{verb}?api-version={COMPUTE_VERSION}", self.id);
        let token = self.identity.token().await?;
        let request = self
            .client
            .request(method, below(&self.endpoint, &path)?)
            .header(AUTHORIZATION, format!("Bearer {}", token.expose()));
        let request = match body {
            Some(body) => request.header(CONTENT_TYPE, JSON).body(body.to_string()),
            None => request,
        };
        send(what, request).await
    }
}

impl Group for ScaleSet {
    fn grow<'a>(&'a self, growth: &'a Growth) -> BoxFuture<'a, Result<(), CloudError>> {
        Box::pin(async move {
            // Size and tier of the machines go with their number.
            let what = "the scale set";
            let said = self.call(what, Method::GET, "", None).await?;
            let read: Value = serde_json::from_str(&said)
                .map_err(|error| CloudError::answer(what, &error.to_string()))?;
            let Some(Value::Object(mut sku)) = read.get("sku").cloned() else {
                return Err(CloudError::answer(what, "it has no sku"));
            };
            // Machines on their way that whoever leads now does not know of count as well.
            let there = sku.get("capacity").and_then(Value::as_u64);
            if there.is_some_and(|there| there >= u64::from(growth.to)) {
                return Ok(());
            }
            sku.insert("capacity".into(), growth.to.into());
            let body = json!({ "sku": sku });
            let set = self.call("the scale set's capacity", Method::PATCH, "", Some(&body));
            set.await.map(|_| ())
        })
    }

    /// The set's capacity shrinks with it.
    fn terminate<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<(), CloudError>> {
        Box::pin(async move {
            let body = json!({ "instanceIds": [host] });
            let what = "an instance's end";
            let deleted = self.call(what, Method::POST, "/delete", Some(&body));
            deleted.await.map(|_| ())
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    #[serde(default)]
    events: Vec<Event>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    event_id: String,
    event_type: String,
    #[serde(default)]
    resources: Vec<String>,
    /// A date as in HTTP; empty once it has begun.
    #[serde(default)]
    not_before: String,
    #[serde(default)]
    description: String,
}

impl Event {
    fn takes(&self, machine: &str) -> bool {
        let this = |name: &String| name.eq_ignore_ascii_case(machine);
        ENDS.contains(&self.event_type.as_str()) && self.resources.iter().any(this)
    }

    fn notice(&self, now: SystemTime) -> Notice {
        let at = httpdate::parse_http_date(&self.not_before);
        let left = at.ok().and_then(|at| at.duration_since(now).ok());
        Notice {
            within: Some(left.unwrap_or(Duration::ZERO)),
            id: self.event_id.clone(),
            reason: format!("{}: {}", self.event_type, self.description),
        }
    }
}

/// All machines of a set are told of the events of all; only its own concern this one.
impl Notices for Metadata {
    fn poll(&self) -> BoxFuture<'_, Result<Option<Notice>, CloudError>> {
        Box::pin(async move {
            let name = self.name().await?;
            let events = self.events().await?;
            let now = SystemTime::now();
            let ours = events.iter().filter(|event| event.takes(name));
            let notices = ours.map(|event| event.notice(now));
            Ok(notices.min_by_key(|notice| notice.within))
        })
    }

    /// It waits until its time, and no longer.
    fn hold<'a>(&'a self, _: &'a Notice) -> BoxFuture<'a, Result<(), CloudError>> {
        Box::pin(async { Ok(()) })
    }

    fn release<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), CloudError>> {
        Box::pin(async move {
            // An event that is let begin begins for all its machines.
            let shared = |event: &Event| event.event_id == notice.id && event.resources.len() > 1;
            if self.events().await?.iter().any(shared) {
                return Ok(());
            }
            let body = json!({ "StartRequests": [{ "EventId": notice.id }] });
            let request = self.imds.request(Method::POST, EVENTS_PATH)?;
            let request = request.header(CONTENT_TYPE, JSON).body(body.to_string());
            send("an event's start", request).await.map(|_| ())
        })
    }
}
