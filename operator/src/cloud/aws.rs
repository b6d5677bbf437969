//! EC2 Auto Scaling: the group's size and its instances by the query API (2011-01-01), and what an
//! instance hears of its own end from its metadata service (IMDSv2): the target lifecycle state and
//! the interruption of a spot instance.

mod metadata;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Client, StatusCode, Url};

pub use metadata::Metadata;

use super::http::send;
use super::sigv4::{self, Credentials, encode};
use super::{CloudError, Group, Growth, Notice, Notices};

const VERSION: &str = "2011-01-01";
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
/// What a spot instance is given when it is told.
const SPOT_NOTICE: Duration = Duration::from_secs(120);
/// The id of such a notice; lifecycle actions have none.
const SPOT: &str = "spot";

/// Where credentials come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// From the configuration or the environment.
    Fixed(Credentials),
    /// Of the role of the instance this runs on.
    Instance(Metadata),
}

impl Source {
    async fn credentials(&self) -> Result<Credentials, CloudError> {
        match self {
            Self::Fixed(credentials) => Ok(credentials.clone()),
            Self::Instance(metadata) => metadata.credentials().await,
        }
    }
}

/// One Auto Scaling group.
#[derive(Clone, Debug)]
pub struct AutoScaling {
    pub client: Client,
    /// `https://autoscaling.REGION.amazonaws.com/` unless an endpoint of one's own is configured.
    pub endpoint: Url,
    pub region: String,
    pub group: String,
    /// Its hook for terminations, if it has one.
    pub hook: Option<String>,
    pub source: Source,
}

impl AutoScaling {
    pub fn endpoint_of(region: &str) -> Result<Url, CloudError> {
        let url = format!("https://autoscaling.{region}.amazonaws.com/");
        Url::parse(&url).map_err(|error| CloudError::answer("aws.region", &error.to_string()))
    }

    /// One call; the parameters need no order.
    async fn call(&self, action: &str, parameters: &[(&str, &str)]) -> Result<String, CloudError> {
        let mut pairs = vec![("Action", action), ("Version", VERSION)];
        pairs.extend_from_slice(parameters);
        let pairs: Vec<String> = pairs
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        let body = pairs.join("&");
        let credentials = self.source.credentials().await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let host = authority(&self.endpoint);
        let signature = sigv4::sign(
            &sigv4::Request {
                method: "POST",
                path: "/",
                host: &host,
                content_type: Some(FORM),
                query: "",
                body: body.as_bytes(),
                region: &self.region,
                service: "autoscaling",
                unix_seconds: now.unwrap_or_default().as_secs(),
            },
            &credentials,
        );
        let mut request = self
            .client
            .post(self.endpoint.clone())
            .header(CONTENT_TYPE, FORM)
            .header("x-amz-date", signature.date)
            .header(AUTHORIZATION, signature.authorization.expose())
            .body(body);
        if let Some(token) = &credentials.session_token {
            request = request.header("x-amz-security-token", token.expose());
        }
        send(action, request).await
    }

    /// Of the hook that holds a terminating instance back.
    async fn lifecycle(
        &self,
        action: &str,
        instance: &str,
        result: &str,
    ) -> Result<(), CloudError> {
        let Some(hook) = &self.hook else {
            return Ok(());
        };
        let mut parameters = vec![
            ("AutoScalingGroupName", self.group.as_str()),
            ("LifecycleHookName", hook),
            ("InstanceId", instance),
        ];
        if !result.is_empty() {
            parameters.push(("LifecycleActionResult", result));
        }
        self.call(action, &parameters).await.map(|_| ())
    }

    /// The hook's time begins anew (an hour, unless the hook says otherwise).
    pub async fn record_heartbeat(&self, instance: &str) -> Result<(), CloudError> {
        self.lifecycle("RecordLifecycleActionHeartbeat", instance, "")
            .await
    }

    pub async fn complete_lifecycle(&self, instance: &str) -> Result<(), CloudError> {
        self.lifecycle("CompleteLifecycleAction", instance, "CONTINUE")
            .await
    }
}

/// As it stands in the `Host` header: without the port that is usual.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

impl Group for AutoScaling {
    fn grow<'a>(&'a self, growth: &'a Growth) -> BoxFuture<'a, Result<(), CloudError>> {
        Box::pin(async move {
            let desired = growth.to.to_string();
            let parameters = [
                ("AutoScalingGroupName", self.group.as_str()),
                ("DesiredCapacity", &desired),
                // Cool-downs are Skein's own.
                ("HonorCooldown", "false"),
            ];
            self.call("SetDesiredCapacity", &parameters)
                .await
                .map(|_| ())
        })
    }

    fn terminate<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<(), CloudError>> {
        Box::pin(async move {
            let parameters = [
                ("InstanceId", host),
                ("ShouldDecrementDesiredCapacity", "true"),
            ];
            let action = "TerminateInstanceInAutoScalingGroup";
            self.call(action, &parameters).await.map(|_| ())
        })
    }
}

/// What the instance this runs on is told.
#[derive(Clone, Debug)]
pub struct InstanceNotices {
    pub metadata: Metadata,
    pub scaling: AutoScaling,
}

impl Notices for InstanceNotices {
    fn poll(&self) -> BoxFuture<'_, Result<Option<Notice>, CloudError>> {
        Box::pin(async move {
            if let Some(action) = optional(self.metadata.get("spot/instance-action").await)? {
                return Ok(Some(Notice {
                    within: Some(SPOT_NOTICE),
                    id: SPOT.into(),
                    reason: action,
                }));
            }
            let path = "autoscaling/target-lifecycle-state";
            let target = optional(self.metadata.get(path).await)?;
            if target.as_deref().map(str::trim) != Some("Terminated") {
                return Ok(None);
            }
            Ok(Some(Notice {
                within: None,
                id: self.metadata.get("instance-id").await?,
                reason: "the group takes the instance away".into(),
            }))
        })
    }

    fn hold<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), CloudError>> {
        Box::pin(async move {
            match notice.id.as_str() {
                SPOT => Ok(()),
                instance => self.scaling.record_heartbeat(instance).await,
            }
        })
    }

    fn release<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), CloudError>> {
        Box::pin(async move {
            match notice.id.as_str() {
                SPOT => Ok(()),
                instance => self.scaling.complete_lifecycle(instance).await,
            }
        })
    }
}

/// The metadata service says 404 for what is not the case.
fn optional(answer: Result<String, CloudError>) -> Result<Option<String>, CloudError> {
    match answer {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.is_status(StatusCode::NOT_FOUND) => Ok(None),
        Err(error) => Err(error),
    }
}
