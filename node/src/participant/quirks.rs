//! What the server does differently for certain clients: browsers that announce codecs they cannot
//! really send or decode, old protocols. The one place that looks at `ClientInfo`. The table is
//! LiveKit's (`rtc/clientinfo.go`, `clientconfiguration/conf.go`).

use media::types::{Codec, MediaKind};
use protocol::proto;
use protocol::proto::client_info::Sdk;

use super::contract::ParticipantSettings;

/// `JoinResponse.client_configuration`; `None` for the common case.
pub fn client_configuration(client: &proto::ClientInfo) -> Option<proto::ClientConfiguration> {
    let mut disabled = proto::DisabledCodecs::default();
    if is_safari(client) {
        disabled.codecs.push(codec("video/av1"));
        if newer_than(&client.browser_version, 18, 3) {
            disabled.publish.push(codec("video/vp9"));
        }
    }
    if cannot_publish_h264(client) {
        disabled.publish.push(codec("video/h264"));
    }
    if disabled.codecs.is_empty() && disabled.publish.is_empty() {
        return None;
    }
    Some(proto::ClientConfiguration {
        disabled_codecs: Some(disabled),
        ..Default::default()
    })
}

/// `JoinResponse.enabled_publish_codecs`: the room's codecs without RTX and without what this client
/// cannot publish; VP8 first, then H264, the other video codecs, audio last.
pub fn enabled_publish_codecs(
    enabled: &[proto::Codec],
    client: &proto::ClientInfo,
) -> Vec<proto::Codec> {
    let mut codecs: Vec<proto::Codec> = enabled
        .iter()
        .filter(|c| Codec::from_mime(&c.mime).is_some_and(|c| !publish_disabled(client, c)))
        .cloned()
        .collect();
    codecs.sort_by_key(|c| match Codec::from_mime(&c.mime) {
        Some(Codec::Vp8) => 0,
        Some(Codec::H264) => 1,
        Some(codec) if codec.kind() == MediaKind::Video => 2,
        _ => 3,
    });
    codecs
}

/// This client's SDKs or browser cannot publish the codec.
pub(crate) fn publish_disabled(client: &proto::ClientInfo, codec: Codec) -> bool {
    match codec {
        Codec::Av1 => is_safari(client),
        Codec::Vp9 => is_safari(client) && newer_than(&client.browser_version, 18, 3),
        Codec::H264 => cannot_publish_h264(client),
        _ => false,
    }
}

/// This client cannot decode the codec although its SDP may say so.
pub(crate) fn subscribe_disabled(client: &proto::ClientInfo, codec: Codec) -> bool {
    match codec {
        Codec::Av1 => is_safari(client),
        Codec::Red => is_safari(client) || is_firefox(client),
        _ => false,
    }
}

/// `/rtc` with the right to subscribe: the connection the server offers is what makes a participant
/// ACTIVE. Protocol 2 and older know only publisher-first.
pub fn subscriber_primary(settings: &ParticipantSettings) -> bool {
    !settings.single_peer_connection
        && settings.client.protocol > 2
        && settings.permission.can_subscribe
}

/// Sections of ended subscriptions may carry later ones.
pub(crate) fn reuses_sections(client: &proto::ClientInfo) -> bool {
    client.protocol > 3 && !is_safari(client)
}

/// Ignores the order of codecs in an answer, so only the wanted one may be left in it.
pub(crate) fn ignores_codec_order(client: &proto::ClientInfo) -> bool {
    let os = client.os.to_ascii_lowercase();
    is_firefox(client) && (os == "linux" || os == "android")
}

/// Understands `track_unpublished`; older ones are muted instead.
pub(crate) fn knows_track_unpublished(client: &proto::ClientInfo) -> bool {
    client.protocol > 6
}

/// Rust SDKs before protocol 10 fail on response variants they do not know.
pub(crate) fn knows_late_messages(client: &proto::ClientInfo) -> bool {
    client.sdk != Sdk::Rust as i32 || client.protocol >= 10
}

fn cannot_publish_h264(client: &proto::ClientInfo) -> bool {
    let os = client.os.to_ascii_lowercase();
    let xiaomi = client.device_model.eq_ignore_ascii_case("xiaomi 2201117ti") && os == "android";
    xiaomi || ignores_codec_order(client)
}

fn is_firefox(client: &proto::ClientInfo) -> bool {
    let browser = client.browser.to_ascii_lowercase();
    browser == "firefox" || browser == "firefox mobile"
}

fn is_safari(client: &proto::ClientInfo) -> bool {
    client.browser.eq_ignore_ascii_case("safari")
}

fn newer_than(version: &str, major: u32, minor: u32) -> bool {
    let mut parts = version
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) > (major, minor)
}

fn codec(mime: &str) -> proto::Codec {
    proto::Codec {
        mime: mime.to_owned(),
        fmtp_line: String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn client(browser: &str, version: &str, os: &str) -> proto::ClientInfo {
        proto::ClientInfo {
            browser: browser.into(),
            browser_version: version.into(),
            os: os.into(),
            protocol: 17,
            ..Default::default()
        }
    }

    fn publishable(client: &proto::ClientInfo) -> Vec<String> {
        let room = [
            "audio/opus",
            "video/VP9",
            "video/H264",
            "video/VP8",
            "video/AV1",
            "video/rtx",
        ];
        let room: Vec<proto::Codec> = room.into_iter().map(codec).collect();
        let codecs = enabled_publish_codecs(&room, client);
        codecs.into_iter().map(|c| c.mime).collect()
    }

    #[test]
    fn a_common_browser_gets_no_special_configuration() {
        let chrome = client("Chrome", "140.0", "Windows");
        assert!(client_configuration(&chrome).is_none());
        assert_eq!(
            publishable(&chrome),
            [
                "video/VP8",
                "video/H264",
                "video/VP9",
                "video/AV1",
                "audio/opus"
            ]
        );
    }

    #[test]
    fn firefox_on_linux_does_not_publish_h264() {
        let firefox = client("Firefox", "140.0", "Linux");
        let disabled = client_configuration(&firefox)
            .unwrap()
            .disabled_codecs
            .unwrap();
        assert_eq!(disabled.publish, [codec("video/h264")]);
        assert!(!publishable(&firefox).contains(&"video/H264".to_owned()));
    }

    #[test]
    fn safari_publishes_no_av1_and_late_versions_no_vp9() {
        assert!(publishable(&client("Safari", "17.0", "macOS")).contains(&"video/VP9".to_owned()));
        let late = publishable(&client("Safari", "18.4", "macOS"));
        assert!(!late.contains(&"video/VP9".to_owned()));
        assert!(!late.contains(&"video/AV1".to_owned()));
    }
}
