//! Any other cloud, or a person with a script: what should happen is posted as JSON to a URL of the
//! operator's, with a signature. What the other side wants comes in through the operator's API.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use futures_util::future::BoxFuture;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url};
use serde::Serialize;

use super::http::send;
use super::sigv4::hex;
use super::{CloudError, Group, Growth, Secret};

/// `t=SECONDS,v1=HEX`: HMAC-SHA256 of `SECONDS.BODY` under the shared secret.
pub const SIGNATURE_HEADER: &str = "skein-signature";

#[derive(Clone, Debug)]
pub struct Webhook {
    pub client: Client,
    pub url: Url,
    pub secret: Secret,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    /// `by` more machines, `to` in all.
    Grow {
        by: u32,
        to: u32,
        zone: Option<&'a str>,
        reason: &'a str,
    },
    /// Its node is empty and has left the cluster.
    Terminate { host: &'a str },
}

impl Webhook {
    async fn post(&self, event: &Event<'_>) -> Result<(), CloudError> {
        let what = "the operator's webhook";
        let body = serde_json::to_string(event);
        let body = body.map_err(|error| CloudError::answer(what, &error.to_string()))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs();
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(SIGNATURE_HEADER, signature(&self.secret, now, &body))
            .body(body);
        send(what, request).await.map(|_| ())
    }
}

/// What the receiver computes again.
pub fn signature(secret: &Secret, unix_seconds: u64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let signed = format!("{unix_seconds}.{body}");
    let tag = hmac::sign(&key, signed.as_bytes());
    format!("t={unix_seconds},v1={}", hex(tag.as_ref()))
}

impl Group for Webhook {
    fn grow<'a>(&'a self, growth: &'a Growth) -> BoxFuture<'a, Result<(), CloudError>> {
        Box::pin(async move {
            let event = Event::Grow {
                by: growth.by,
                to: growth.to,
                zone: growth.zone.as_deref(),
                reason: &growth.reason,
            };
            self.post(&event).await
        })
    }

    fn terminate<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<(), CloudError>> {
        Box::pin(async move { self.post(&Event::Terminate { host }).await })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cloud::client;
    use crate::cloud::test_peer::{Answer, TestPeer};

    fn webhook(peer: &TestPeer) -> Webhook {
        Webhook {
            client: client().unwrap(),
            url: peer.url("/hooks/skein?team=a"),
            secret: Secret::new("hunter2"),
        }
    }

    #[tokio::test]
    async fn what_should_happen_is_posted_and_signed() {
        let peer = TestPeer::start(vec![Answer::ok(""), Answer::ok("")]).await;
        let webhook = webhook(&peer);
        let growth = Growth {
            by: 2,
            to: 5,
            zone: Some("b".into()),
            reason: "busy".into(),
        };
        webhook.grow(&growth).await.unwrap();
        webhook.terminate("i-0abc").await.unwrap();
        let asked = peer.requests().await;
        assert_eq!(asked[0].line, "POST /hooks/skein?team=a HTTP/1.1");
        let said: serde_json::Value = serde_json::from_str(&asked[0].body).unwrap();
        let expected = serde_json::json!({
            "event": "grow", "by": 2, "to": 5, "zone": "b", "reason": "busy"
        });
        assert_eq!(said, expected);
        assert_eq!(asked[1].body, r#"{"event":"terminate","host":"i-0abc"}"#);
        let signed = asked[0].header(SIGNATURE_HEADER).unwrap();
        let at = signed.split(&['=', ','][..]).nth(1).unwrap();
        let again = signature(&webhook.secret, at.parse().unwrap(), &asked[0].body);
        assert_eq!(signed, again);
    }

    #[tokio::test]
    async fn a_refusal_is_told_without_the_secret_and_a_redirect_is_not_followed() {
        let moved = Answer::status(302, "").header("location", "http://127.0.0.1:1/elsewhere");
        let peer = TestPeer::start(vec![Answer::status(500, "broken"), moved]).await;
        let webhook = webhook(&peer);
        let error = webhook.terminate("x").await.unwrap_err();
        assert!(error.to_string().contains("500: broken"), "{error}");
        assert!(!format!("{error:?} {webhook:?}").contains("hunter2"));
        let error = webhook.terminate("x").await.unwrap_err();
        assert!(error.to_string().contains("302"), "{error}");
    }
}
