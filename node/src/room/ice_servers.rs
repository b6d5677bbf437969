//! The STUN and TURN servers a participant is told of, with credentials of its own where the server
//! shares a secret with us. The composition lists them; join and resume ask for them.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use media::turn::credentials::Authority;
use protocol::proto;

/// A server and how to authenticate to it.
#[derive(Clone, Debug)]
pub struct IceServer {
    pub urls: Vec<String>,
    pub credentials: Credentials,
}

#[derive(Clone)]
pub enum Credentials {
    /// STUN needs none.
    None,
    Fixed {
        username: String,
        password: String,
    },
    /// coturn's REST credentials (draft-uberti-behave-turn-rest-00): good for `seconds`.
    Shared {
        secret: String,
        seconds: u32,
    },
    /// The embedded server's.
    Own(Authority),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Credentials::None => "None",
            Credentials::Fixed { .. } => "Fixed(***)",
            Credentials::Shared { .. } => "Shared(***)",
            Credentials::Own(_) => "Own",
        })
    }
}

impl IceServer {
    /// Whether it is reached over TLS, as one of its ways.
    pub(super) fn has_tls(&self) -> bool {
        self.urls.iter().any(|url| is_tls(url))
    }

    /// Its ways over TLS alone.
    pub(super) fn over_tls(&self) -> IceServer {
        IceServer {
            urls: self
                .urls
                .iter()
                .filter(|url| is_tls(url))
                .cloned()
                .collect(),
            credentials: self.credentials.clone(),
        }
    }

    /// What `participant`, who came with a token of `api_key`, is told; `now_s` counts from the
    /// epoch.
    pub(super) fn told_to(&self, participant: &str, api_key: &str, now_s: i64) -> proto::IceServer {
        let (username, credential) = match &self.credentials {
            Credentials::None => Default::default(),
            Credentials::Fixed { username, password } => (username.clone(), password.clone()),
            Credentials::Shared { secret, seconds } => {
                let expiry = now_s.saturating_add(i64::from(*seconds));
                let username = format!("{expiry}:{participant}");
                // SHA-1 is what coturn's `use-auth-secret` computes.
                let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
                let password = STANDARD.encode(hmac::sign(&key, username.as_bytes()));
                (username, password)
            }
            // A token without a known key was refused long before.
            Credentials::Own(authority) => authority
                .issue(now_s, api_key, participant)
                .map(|issued| (issued.username, issued.password))
                .unwrap_or_default(),
        };
        proto::IceServer {
            urls: self.urls.clone(),
            username,
            credential,
        }
    }
}

fn is_tls(url: &str) -> bool {
    url.starts_with("turns:")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(credentials: Credentials) -> IceServer {
        IceServer {
            urls: vec!["turn:turn.example.org:3478?transport=udp".into()],
            credentials,
        }
    }

    #[test]
    fn a_shared_secret_gives_each_participant_credentials_that_expire() {
        let shared = server(Credentials::Shared {
            secret: "north".into(),
            seconds: 14_400,
        });
        let told = shared.told_to("PA_abc", "", 1_700_000_000);
        assert_eq!(told.username, "1700014400:PA_abc");
        // printf 1700014400:PA_abc | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(told.credential, "xz9OflV0NPJPpS23GCWSHq30h0g=");
        assert_ne!(shared.told_to("PA_x", "", 0).credential, told.credential);
        assert!(!format!("{shared:?}").contains("north"));
    }

    #[test]
    fn fixed_credentials_are_told_as_they_are() {
        let fixed = server(Credentials::Fixed {
            username: "u".into(),
            password: "p".into(),
        });
        let told = fixed.told_to("PA_abc", "", 0);
        assert_eq!(
            (told.username.as_str(), told.credential.as_str()),
            ("u", "p")
        );
        assert_eq!(
            server(Credentials::None).told_to("PA_abc", "", 0).username,
            ""
        );
    }
}
