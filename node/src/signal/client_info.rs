//! Completes what a client says about itself from its HTTP request: address, browser, operating
//! system. The server's quirks table (`clientconfiguration/conf.go`) matches on these names. Pure.

use std::net::IpAddr;

use actix_web::http::header::{HeaderMap, USER_AGENT};
use protocol::proto::ClientInfo;
use protocol::proto::client_info::{Capability, Sdk};

use super::limits::CLIENT_TEXT_BYTES_MAX;

/// Headers of proxies, the most trusted first; the order is LiveKit's.
const ADDRESS_HEADERS: [&str; 3] = ["CF-Connecting-IP", "X-Forwarded-For", "X-Real-IP"];

/// `peer` is the address of the TCP connection.
pub(super) fn complete(client: &mut ClientInfo, headers: &HeaderMap, peer: Option<IpAddr>) {
    client.address = address(headers, peer);
    let in_browsers = [
        Sdk::Js,
        Sdk::ReactNative,
        Sdk::Flutter,
        Sdk::Unity,
        Sdk::UnityWeb,
    ];
    if in_browsers.contains(&client.sdk()) {
        let agent = headers
            .get(USER_AGENT)
            .and_then(|value| value.to_str().ok());
        let agent = shortened(agent.unwrap_or_default());
        if client.browser.is_empty()
            && let Some((name, version)) = browser(agent)
        {
            client.browser = name.to_owned();
            client.browser_version = version.to_owned();
        }
        if client.os.is_empty()
            && let Some(name) = operating_system(agent)
        {
            client.os = name.to_owned();
        }
    }
    // Others see them; each is worth saying once.
    let mut known = Vec::new();
    for capability in std::mem::take(&mut client.capabilities) {
        if !known.contains(&capability) && Capability::try_from(capability).is_ok() {
            known.push(capability);
        }
    }
    client.capabilities = known;
    for text in [
        &mut client.version,
        &mut client.os,
        &mut client.os_version,
        &mut client.device_model,
        &mut client.browser,
        &mut client.browser_version,
        &mut client.network,
        &mut client.other_sdks,
    ] {
        let length = shortened(text).len();
        text.truncate(length);
    }
}

fn address(headers: &HeaderMap, peer: Option<IpAddr>) -> String {
    let named = ADDRESS_HEADERS.iter().find_map(|name| {
        let value = headers.get(*name)?.to_str().ok()?;
        (!value.is_empty()).then(|| shortened(value).to_owned())
    });
    named.unwrap_or_else(|| peer.map_or_else(String::new, |address| address.to_string()))
}

/// At most [`CLIENT_TEXT_BYTES_MAX`], cut between characters.
fn shortened(text: &str) -> &str {
    let mut end = text.len().min(CLIENT_TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Name and version. Order matters: every browser also names those it descends from.
fn browser(agent: &str) -> Option<(&'static str, &str)> {
    const MARKS: [(&str, &str); 9] = [
        ("Edg/", "Edge"),
        ("EdgA/", "Edge"),
        ("OPR/", "Opera"),
        ("SamsungBrowser/", "Samsung Internet"),
        ("FxiOS/", "Firefox"),
        ("Firefox/", "Firefox"),
        ("CriOS/", "Chrome"),
        ("Chrome/", "Chrome"),
        ("OBS/", "OBS"),
    ];
    for (mark, name) in MARKS {
        if let Some(version) = after(agent, mark) {
            return Some((name, version));
        }
    }
    let safari = agent.contains("Safari/");
    after(agent, "Version/")
        .filter(|_| safari)
        .map(|version| ("Safari", version))
}

fn after<'a>(agent: &'a str, mark: &str) -> Option<&'a str> {
    let (_, rest) = agent.split_once(mark)?;
    rest.split([' ', ';', ')']).next()
}

fn operating_system(agent: &str) -> Option<&'static str> {
    const MARKS: [(&str, &str); 7] = [
        ("Android", "Android"),
        ("iPhone", "iOS"),
        ("iPad", "iOS"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("CrOS", "Chrome OS"),
        ("Linux", "Linux"),
    ];
    let found = MARKS.iter().find(|(mark, _)| agent.contains(mark));
    found.map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, \
                          like Gecko) Chrome/126.0.0.0 Safari/537.36";
    const SAFARI: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 \
                          (KHTML, like Gecko) Version/18.4 Safari/605.1.15";

    fn completed(sdk: Sdk, headers: &[(&'static str, &str)]) -> ClientInfo {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).unwrap();
            map.insert(HeaderName::from_static(name), value);
        }
        let mut client = ClientInfo {
            sdk: sdk as i32,
            ..Default::default()
        };
        complete(&mut client, &map, "192.0.2.7".parse().ok());
        client
    }

    #[test]
    fn browser_and_system_come_from_the_user_agent() {
        for (agent, expected) in [
            (FIREFOX, ("Firefox", "140.0", "Linux")),
            (CHROME, ("Chrome", "126.0.0.0", "Windows")),
            (SAFARI, ("Safari", "18.4", "macOS")),
        ] {
            let client = completed(Sdk::Js, &[("user-agent", agent)]);
            let found = (
                client.browser.as_str(),
                client.browser_version.as_str(),
                client.os.as_str(),
            );
            assert_eq!(found, expected);
        }
        let native = completed(Sdk::Rust, &[("user-agent", CHROME)]);
        assert_eq!((native.browser, native.os), Default::default());
    }

    #[test]
    fn proxies_name_the_address_in_livekits_order() {
        let forwarded = ("x-forwarded-for", "198.51.100.1, 10.0.0.1");
        let client = completed(Sdk::Js, &[forwarded, ("cf-connecting-ip", "203.0.113.9")]);
        assert_eq!(client.address, "203.0.113.9");
        assert_eq!(
            completed(Sdk::Js, &[forwarded]).address,
            "198.51.100.1, 10.0.0.1"
        );
        assert_eq!(completed(Sdk::Js, &[]).address, "192.0.2.7");
    }

    #[test]
    fn capabilities_are_told_once_each_and_only_known_ones() {
        let known = Capability::CapPacketTrailer as i32;
        let mut client = ClientInfo {
            capabilities: [known, 77].repeat(1000),
            ..Default::default()
        };
        complete(&mut client, &HeaderMap::new(), None);
        assert_eq!(client.capabilities, [known]);
    }

    #[test]
    fn texts_of_strangers_are_cut() {
        let long = "é".repeat(CLIENT_TEXT_BYTES_MAX);
        assert!(shortened(&long).len() <= CLIENT_TEXT_BYTES_MAX);
        assert_eq!(shortened("é"), "é");
    }
}
