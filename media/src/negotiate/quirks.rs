//! What certain clients cannot do although they announce it (LiveKit: rtc/clientinfo.go,
//! clientconfiguration/conf.go), as far as descriptions are concerned.

use crate::types::Codec;

/// A client as its join parameters or its User-Agent describe it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Client<'a> {
    /// Lower-case name as in the `sdk` parameter: `js`, `swift`, `go`, …
    pub sdk: &'a str,
    pub browser: &'a str,
    pub browser_version: &'a str,
    pub os: &'a str,
    pub device_model: &'a str,
}

/// Deviations from the common behaviour; the default is a client without any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientQuirks {
    /// Cannot handle RED (Firefox, Safari).
    pub no_audio_red: bool,
    /// A section that carried one track must not carry another (Safari).
    pub no_section_reuse: bool,
    /// Sends the codec it likes, whatever the answer's order: leave only the preferred one
    /// (Firefox on Linux and Android).
    pub ignores_codec_order: bool,
    /// Codecs the client must not publish.
    pub disabled_publish: Vec<Codec>,
    /// Codecs the client must not be sent.
    pub disabled_subscribe: Vec<Codec>,
}

impl ClientQuirks {
    pub fn of(client: &Client<'_>) -> Self {
        let mut quirks = Self::default();
        let firefox = is_browser(client, "firefox");
        let safari = is_browser(client, "safari");
        let linux_or_android = ["linux", "android"]
            .iter()
            .any(|os| client.os.eq_ignore_ascii_case(os));
        quirks.no_audio_red = firefox || safari;
        quirks.no_section_reuse = safari;
        quirks.ignores_codec_order = firefox && linux_or_android;
        if safari {
            quirks.disabled_publish.push(Codec::Av1);
            quirks.disabled_subscribe.push(Codec::Av1);
            if version_above(client.browser_version, (18, 3)) {
                quirks.disabled_publish.push(Codec::Vp9);
            }
        }
        let xiaomi = client.device_model.eq_ignore_ascii_case("xiaomi 2201117ti");
        if (firefox && linux_or_android) || xiaomi {
            quirks.disabled_publish.push(Codec::H264);
        }
        quirks
    }
}

fn is_browser(client: &Client<'_>, name: &str) -> bool {
    client.browser.eq_ignore_ascii_case(name)
        || client
            .browser
            .to_ascii_lowercase()
            .split_whitespace()
            .any(|word| word == name)
}

/// `version` (dotted) is greater than major.minor; an unreadable one is not.
fn version_above(version: &str, than: (u32, u32)) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
    match (parts.next().flatten(), parts.next()) {
        (Some(major), minor) => (major, minor.flatten().unwrap_or(0)) > than,
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn browser<'a>(browser: &'a str, browser_version: &'a str, os: &'a str) -> Client<'a> {
        Client {
            sdk: "js",
            browser,
            browser_version,
            os,
            device_model: "",
        }
    }

    #[test]
    fn a_common_browser_has_no_quirks() {
        let chrome = ClientQuirks::of(&browser("Chrome", "140.0.1", "Windows"));
        assert_eq!(chrome, ClientQuirks::default());
    }

    #[test]
    fn firefox_on_linux_does_not_publish_h264_and_gets_one_codec() {
        let firefox = ClientQuirks::of(&browser("Firefox", "140.0", "Linux"));
        assert_eq!(firefox.disabled_publish, [Codec::H264]);
        assert!(firefox.ignores_codec_order && firefox.no_audio_red);
        let mac = ClientQuirks::of(&browser("Firefox", "140.0", "macOS"));
        assert!(mac.disabled_publish.is_empty() && !mac.ignores_codec_order);
    }

    #[test]
    fn safari_has_no_av1_and_late_versions_publish_no_vp9() {
        let old = ClientQuirks::of(&browser("Safari", "17.0", "macOS"));
        assert_eq!(old.disabled_publish, [Codec::Av1]);
        assert_eq!(old.disabled_subscribe, [Codec::Av1]);
        let late = ClientQuirks::of(&browser("Safari", "18.4", "macOS"));
        assert_eq!(late.disabled_publish, [Codec::Av1, Codec::Vp9]);
        let same = ClientQuirks::of(&browser("Safari", "18.3", "macOS"));
        assert_eq!(same.disabled_publish, [Codec::Av1]);
    }
}
