//! The configuration as an operator meets it: files, flags, variables and mistakes.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use super::load::{DEV_KEY, DEV_SECRET};
use super::*;

fn body(text: &str) -> Overrides {
    Overrides {
        config_body: Some(text.to_owned()),
        ..Overrides::default()
    }
}

#[test]
fn a_bare_start_is_development_on_loopback() {
    let config = load(&Overrides::default()).unwrap();
    assert!(config.development);
    assert_eq!(config.keys[DEV_KEY].expose(), DEV_SECRET);
    assert_eq!(config.bind_addresses, ["127.0.0.1", "::1"]);
    assert_eq!(config.rtc.udp_port, PortRange::single(7882));
    assert_eq!(config.rtc.tcp_port, 7881);
}

#[test]
fn an_existing_livekit_file_is_read_with_upstream_defaults() {
    let text = "
port: 7980
keys: {key1: secret-of-thirty-two-characters-1}
rtc:
  udp_port: 7882-7890
  node_ip: {ipv4: 10.0.0.1, ipv6: 'fd00::1'}
  pli_throttle: {low_quality: 250ms}
  tcp_port: 0
webhook:
  api_key: key1
  urls: [http://localhost/hook]
room:
";
    let config = load(&body(text)).unwrap();
    assert_eq!(config.port, 7980);
    assert_eq!(config.rtc.udp_port.iter().count(), 9);
    assert_eq!(config.rtc.node_ip.iter().count(), 2);
    assert_eq!(config.rtc.tcp_port, 0);
    assert_eq!(
        config.rtc.pli_throttle.low_quality,
        Duration::from_millis(250)
    );
    assert_eq!(config.rtc.pli_throttle.mid_quality, Duration::from_secs(1));
    assert_eq!(config.room.empty_timeout, 300);
    assert_eq!(config.limit.max_metadata_size, 512_000);
    assert!(!config.development);
}

#[test]
fn an_rtc_section_without_tcp_port_keeps_the_default_port() {
    let config = load(&body("keys: {a: b}\nrtc: {use_external_ip: false}\n")).unwrap();
    assert_eq!(config.rtc.tcp_port, 7881);
}

#[test]
fn an_unknown_key_is_named_with_its_nearest() {
    let error = load(&body("keys: {a: b}\nrtc: {tcp_prot: 1}\n")).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("`rtc.tcp_prot`"), "{message}");
    assert!(message.contains("`rtc.tcp_port`"), "{message}");

    let misplaced = load(&body("keys: {a: b}\nempty_timeout: 1\n")).unwrap_err();
    assert!(misplaced.to_string().contains("`room.empty_timeout`"));

    let lenient = Overrides {
        disable_strict: true,
        ..body("keys: {a: b}\nrtc: {tcp_prot: 1}\n")
    };
    assert!(load(&lenient).is_ok());
    let newer = "keys: {a: b}\nrtc: {turn_servers: [{host: h, secret: s, newer: 1}]}\n";
    assert!(load(&body(newer)).is_err());
    let lenient = Overrides {
        disable_strict: true,
        ..body(newer)
    };
    assert_eq!(load(&lenient).unwrap().rtc.turn_servers[0].host, "h");
}

#[test]
fn flags_win_over_environment_which_wins_over_the_file() {
    let mut overrides = body("keys: {a: b}\nregion: file\nport: 1\nrtc: {tcp_port: 2}\n");
    let variables = [
        ("LIVEKIT_REGION", "variable"),
        ("LIVEKIT_RTC_TCP_PORT", "3"),
        ("UDP_PORT", "9000-9001"),
        ("LIVEKIT_VIDEO_DYNACAST_PAUSE_DELAY", "7s"),
    ];
    for (name, value) in variables {
        overrides.environment.insert(name.into(), value.into());
    }
    overrides.scalars.insert("region".into(), "007".into());
    let config = load(&overrides).unwrap();
    assert_eq!(config.region, "007");
    assert_eq!(config.rtc.tcp_port, 3);
    assert_eq!(config.rtc.udp_port.end, 9001);
    assert_eq!(config.video.dynacast_pause_delay, Duration::from_secs(7));
    assert_eq!(config.port, 1);
}

#[test]
fn keys_come_as_text_or_from_a_file_that_is_private() {
    use std::os::unix::fs::PermissionsExt;

    let given = Overrides {
        keys: Some("key1: secret1".into()),
        ..Overrides::default()
    };
    let config = load(&given).unwrap();
    assert_eq!(config.keys["key1"].expose(), "secret1");
    assert!(!config.development);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    std::fs::write(&path, "k: s\n").unwrap();
    let given = Overrides {
        key_file: Some(path.display().to_string()),
        ..Overrides::default()
    };
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
    assert!(matches!(load(&given), Err(ConfigError::KeyFileMode { .. })));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(load(&given).unwrap().keys["k"].expose(), "s");
}

#[test]
fn the_secret_of_a_turn_server_may_stand_in_a_private_file() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("turn");
    std::fs::write(&path, "north\n").unwrap();
    let text = format!(
        "keys: {{a: b}}\nrtc: {{turn_servers: [{{host: t, port: 1, secret_file: {}}}]}}\n",
        path.display()
    );
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = load(&body(&text)).unwrap_err();
    assert!(matches!(error, ConfigError::KeyFileMode { .. }));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let config = load(&body(&text)).unwrap();
    assert_eq!(config.rtc.turn_servers[0].secret.expose(), "north");
    std::fs::write(&path, "\n").unwrap();
    assert!(matches!(
        load(&body(&text)),
        Err(ConfigError::TurnCredentials(_))
    ));
}

#[test]
fn missing_or_half_given_credentials_are_refused() {
    assert!(matches!(load(&body("port: 1")), Err(ConfigError::NoKeys)));
    let half = body("keys: {a: b}\nprometheus: {username: u}\n");
    assert!(matches!(load(&half), Err(ConfigError::PrometheusAuth)));
    let hook = body("keys: {a: b}\nwebhook: {urls: [http://x], api_key: c}\n");
    assert!(matches!(load(&hook), Err(ConfigError::WebhookKey(_))));
    let turn = body("keys: {a: b}\nrtc: {turn_servers: [{host: t, port: 1}]}\n");
    assert!(matches!(load(&turn), Err(ConfigError::TurnCredentials(_))));
}
