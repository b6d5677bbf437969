//! What is done differently for certain clients as far as their media is concerned: old protocols,
//! and what `media::negotiate` knows of browsers. Pure functions of `ClientInfo`.

use media::negotiate::{Client, ClientQuirks};
use media::types::{Codec, MediaKind};
use protocol::proto;
use protocol::proto::client_info::Sdk;

use super::contract::ParticipantSettings;

/// What the descriptions of this client have to respect.
pub(crate) fn of_descriptions(client: &proto::ClientInfo) -> ClientQuirks {
    ClientQuirks::of(&Client {
        sdk: sdk_name(client.sdk),
        browser: &client.browser,
        browser_version: &client.browser_version,
        os: &client.os,
        device_model: &client.device_model,
    })
}

/// `JoinResponse.client_configuration`; `None` for the common case.
pub fn client_configuration(client: &proto::ClientInfo) -> Option<proto::ClientConfiguration> {
    let quirks = of_descriptions(client);
    let both_ways = |codec: &&Codec| quirks.disabled_subscribe.contains(codec);
    let (both, publish): (Vec<&Codec>, Vec<&Codec>) =
        quirks.disabled_publish.iter().partition(both_ways);
    if both.is_empty() && publish.is_empty() {
        return None;
    }
    let named = |codecs: Vec<&Codec>| codecs.into_iter().map(named_codec).collect();
    Some(proto::ClientConfiguration {
        disabled_codecs: Some(proto::DisabledCodecs {
            codecs: named(both),
            publish: named(publish),
        }),
        ..Default::default()
    })
}

/// `JoinResponse.enabled_publish_codecs`: the room's codecs without RTX and without what this
/// client cannot publish; VP8 first, then H264, the other video codecs, audio last.
pub fn enabled_publish_codecs(
    enabled: &[proto::Codec],
    client: &proto::ClientInfo,
) -> Vec<proto::Codec> {
    let disabled = of_descriptions(client).disabled_publish;
    let mut codecs: Vec<proto::Codec> = enabled
        .iter()
        .filter(|c| Codec::from_mime(&c.mime).is_some_and(|c| !disabled.contains(&c)))
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

/// `/rtc` with the right to subscribe: the connection the server offers is what makes a participant
/// ACTIVE. Protocol 2 and older know only publisher-first.
pub(crate) fn subscriber_primary(settings: &ParticipantSettings) -> bool {
    !settings.single_peer_connection
        && settings.client.protocol > 2
        && settings.permission.can_subscribe
}

/// Understands `track_unpublished`; older ones are muted instead.
pub(crate) fn knows_track_unpublished(client: &proto::ClientInfo) -> bool {
    client.protocol > 6
}

pub(crate) fn is_firefox(client: &proto::ClientInfo) -> bool {
    client.browser.eq_ignore_ascii_case("firefox")
}

/// Finds the tracks of a media stream that has several. Firefox does not play one whose tracks
/// come at different times.
pub(crate) fn knows_synced_streams(client: &proto::ClientInfo) -> bool {
    client.protocol > 9 && !is_firefox(client)
}

/// Rust SDKs before protocol 10 fail on response variants they do not know.
pub(crate) fn knows_late_messages(client: &proto::ClientInfo) -> bool {
    client.sdk != Sdk::Rust as i32 || client.protocol >= 10
}

fn sdk_name(sdk: i32) -> &'static str {
    match Sdk::try_from(sdk) {
        Ok(Sdk::Js) => "js",
        Ok(Sdk::Swift) => "swift",
        Ok(Sdk::Android) => "android",
        Ok(Sdk::Go) => "go",
        Ok(Sdk::Rust) => "rust",
        Ok(Sdk::Python) => "python",
        _ => "",
    }
}

fn named_codec(codec: &Codec) -> proto::Codec {
    proto::Codec {
        mime: codec.mime().to_ascii_lowercase(),
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
        let codec = |mime: &str| proto::Codec {
            mime: mime.to_owned(),
            fmtp_line: String::new(),
        };
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
        let configuration = client_configuration(&firefox).unwrap();
        let disabled = configuration.disabled_codecs.unwrap();
        assert_eq!(disabled.publish[0].mime, "video/h264");
        assert!(!publishable(&firefox).contains(&"video/H264".to_owned()));
    }

    #[test]
    fn safari_publishes_no_av1_and_late_versions_no_vp9() {
        let old = client("Safari", "17.0", "macOS");
        assert!(publishable(&old).contains(&"video/VP9".to_owned()));
        let late = publishable(&client("Safari", "18.4", "macOS"));
        assert!(!late.contains(&"video/VP9".to_owned()));
        assert!(!late.contains(&"video/AV1".to_owned()));
    }
}
