//! Google Compute Engine: the size and the instances of a managed instance group by its REST API,
//! and what an instance hears of its own end from its metadata server.

#[cfg(test)]
mod tests;

use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Client, Url};
use serde_json::json;

use super::bearer::{Bearer, below};
use super::http::send;
use super::imds::Imds;
use super::{CloudError, Group, Growth, Notice, Notices};

const COMPUTE: &str = "https://compute.googleapis.com/compute/v1/";
/// By address: its name is looked up by nobody but its own resolver.
const METADATA: &str = "http://169.254.169.254/computeMetadata/v1/";
const METADATA_HEADER: (&str, &str) = ("Metadata-Flavor", "Google");
const TOKEN_PATH: &str = "instance/service-accounts/default/token";
const PREEMPTED_PATH: &str = "instance/preempted";
const MAINTENANCE_PATH: &str = "instance/maintenance-event";
const MAINTENANCE_ENDS: &str = "TERMINATE_ON_HOST_MAINTENANCE";
/// What a preempted instance is given.
const PREEMPTION_NOTICE: Duration = Duration::from_secs(30);
/// What an instance that cannot be moved is given (those with accelerators: an hour).
const MAINTENANCE_NOTICE: Duration = Duration::from_secs(60);

/// The metadata server of the instance this runs on.
#[derive(Clone, Debug)]
pub struct Metadata(Imds);

impl Metadata {
    pub fn new(client: Client, endpoint: Url) -> Self {
        Self(Imds::new(client, endpoint, METADATA_HEADER))
    }

    pub fn here(client: Client) -> Result<Self, CloudError> {
        Imds::here(client, METADATA, METADATA_HEADER).map(Self)
    }

    async fn get(&self, path: &str) -> Result<String, CloudError> {
        let said = self.0.get(path).await?;
        Ok(said.trim().to_owned())
    }

    /// Of the instance's service account.
    fn identity(&self) -> Result<Bearer, CloudError> {
        self.0.bearer(TOKEN_PATH)
    }
}

/// One managed group. Its nodes have the instance's name as their host; those of a regional group
/// `zones/ZONE/instances/NAME`.
#[derive(Clone, Debug)]
pub struct InstanceGroup {
    client: Client,
    endpoint: Url,
    /// `projects/…/zones/…/instanceGroupManagers/…`, or `regions`.
    path: String,
    identity: Bearer,
}

impl InstanceGroup {
    pub fn new(
        client: Client,
        endpoint: Option<Url>,
        path: &str,
        metadata: &Metadata,
    ) -> Result<Self, CloudError> {
        let endpoint = endpoint.map_or_else(|| Url::parse(COMPUTE), Ok);
        let endpoint = endpoint.map_err(|e| CloudError::answer("gcp", &e.to_string()))?;
        Ok(Self {
            client,
            endpoint,
            path: path.trim_matches('/').to_owned(),
            identity: metadata.identity()?,
        })
    }

    async fn post(&self, what: &str, verb: &str, body: String) -> Result<(), CloudError> {
        let token = self.identity.token().await?;
        let request = self
            .client
            .post(below(&self.endpoint, &format!("{}/{verb}", self.path))?)
            .header(AUTHORIZATION, format!("Bearer {}", token.expose()))
            .header(CONTENT_TYPE, "application/json")
            // It insists on the length of nothing, too.
            .header(CONTENT_LENGTH, body.len())
            .body(body);
        send(what, request).await.map(|_| ())
    }

    /// As the API names it below the project.
    fn instance(&self, host: &str) -> Result<String, CloudError> {
        if host.starts_with("zones/") {
            return Ok(host.to_owned());
        }
        let mut parts = self.path.split('/');
        match parts.by_ref().find(|part| *part == "zones") {
            Some(_) => {
                let zone = parts.next().unwrap_or_default();
                Ok(format!("zones/{zone}/instances/{host}"))
            }
            None => Err(CloudError::answer(
                "an instance of a regional group",
                &format!("cluster.host is {host}, not zones/ZONE/instances/NAME"),
            )),
        }
    }
}

impl Group for InstanceGroup {
    fn grow<'a>(&'a self, growth: &'a Growth) -> BoxFuture<'a, Result<(), CloudError>> {
        Box::pin(async move {
            let verb = format!("resize?size={}", growth.to);
            self.post("the group's size", &verb, String::new()).await
        })
    }

    /// The group's size shrinks with it.
    fn terminate<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<(), CloudError>> {
        Box::pin(async move {
            let body = json!({ "instances": [self.instance(host)?] }).to_string();
            self.post("an instance's end", "deleteInstances", body)
                .await
        })
    }
}

impl Notices for Metadata {
    fn poll(&self) -> BoxFuture<'_, Result<Option<Notice>, CloudError>> {
        Box::pin(async move {
            if self.get(PREEMPTED_PATH).await? == "TRUE" {
                return Ok(Some(Notice {
                    within: Some(PREEMPTION_NOTICE),
                    id: "preempted".into(),
                    reason: "the instance is preempted".into(),
                }));
            }
            let maintenance = self.get(MAINTENANCE_PATH).await?;
            Ok((maintenance == MAINTENANCE_ENDS).then(|| Notice {
                within: Some(MAINTENANCE_NOTICE),
                id: "maintenance".into(),
                reason: maintenance,
            }))
        })
    }

    /// It cannot be put off.
    fn hold<'a>(&'a self, _: &'a Notice) -> BoxFuture<'a, Result<(), CloudError>> {
        Box::pin(async { Ok(()) })
    }

    /// Nor hastened.
    fn release<'a>(&'a self, _: &'a Notice) -> BoxFuture<'a, Result<(), CloudError>> {
        Box::pin(async { Ok(()) })
    }
}
