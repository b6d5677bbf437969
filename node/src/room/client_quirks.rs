//! What certain clients must not be asked to publish or shown, as LiveKit's
//! `clientconfiguration/conf.go`: they announce codecs they cannot really send or decode.

use protocol::proto;

/// Codecs taken from one client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Disabled {
    /// In both directions.
    pub(super) codecs: Vec<&'static str>,
    pub(super) publish: Vec<&'static str>,
}

impl Disabled {
    pub(super) fn of(client: &proto::ClientInfo) -> Self {
        let browser = client.browser.to_ascii_lowercase();
        let os = client.os.to_ascii_lowercase();
        let mut disabled = Self::default();
        if browser == "firefox" && (os == "linux" || os == "android") {
            disabled.publish.push("video/H264");
        }
        if client.device_model.eq_ignore_ascii_case("Xiaomi 2201117TI") && os == "android" {
            disabled.publish.push("video/H264");
        }
        if browser == "safari" {
            disabled.codecs.push("video/AV1");
            if later_than(&client.browser_version, (18, 3)) {
                disabled.publish.push("video/VP9");
            }
        }
        disabled
    }

    pub(super) fn both_ways(&self, mime: &str) -> bool {
        self.codecs
            .iter()
            .any(|known| known.eq_ignore_ascii_case(mime))
    }

    pub(super) fn for_publishing(&self, mime: &str) -> bool {
        self.both_ways(mime)
            || self
                .publish
                .iter()
                .any(|known| known.eq_ignore_ascii_case(mime))
    }

    /// What the client is told; `None` for the many without quirks.
    pub(super) fn configuration(&self) -> Option<proto::ClientConfiguration> {
        if *self == Self::default() {
            return None;
        }
        let codecs = |mimes: &[&str]| {
            mimes
                .iter()
                .map(|mime| proto::Codec {
                    mime: (*mime).to_owned(),
                    ..Default::default()
                })
                .collect()
        };
        Some(proto::ClientConfiguration {
            disabled_codecs: Some(proto::DisabledCodecs {
                codecs: codecs(&self.codecs),
                publish: codecs(&self.publish),
            }),
            ..Default::default()
        })
    }
}

/// Compares `major.minor…` with a bound; what cannot be read is not later.
fn later_than(version: &str, bound: (u32, u32)) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
    match (parts.next().flatten(), parts.next()) {
        (Some(major), Some(Some(minor))) => (major, minor) > bound,
        (Some(major), _) => major > bound.0,
        _ => false,
    }
}
