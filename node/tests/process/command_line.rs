//! The command line as an operator meets it: every command, against a server that runs.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::asking::{create_room, get, join, post_form, room_service, token};
use crate::server::{KEY, SECRET, Server, skein};

/// The claims of a token, unverified.
fn claims(token: &str) -> Value {
    use base64::Engine;

    let middle = token.trim().split('.').nth(1).unwrap();
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(middle);
    serde_json::from_slice(&json.unwrap()).unwrap()
}

#[test]
fn generated_keys_are_new_each_time_and_start_a_server() {
    let text = skein(&["generate-keys"], &[]).ok();
    assert!(text.starts_with("API Key:  API"), "{text}");
    assert!(text.contains("\nAPI Secret:  "), "{text}");

    let pair = skein(&["generate-keys", "--json"], &[]).json();
    assert_ne!(pair, skein(&["generate-keys", "--json"], &[]).json());
    let (key, secret) = (&pair["api_key"], &pair["api_secret"]);
    assert!(secret.as_str().unwrap().len() >= 32);
    let keys = format!("{}: {}", key.as_str().unwrap(), secret.as_str().unwrap());
    let token = ["token", "create", "--room", "r", "--identity", "i"];
    let signed = skein(&token, &[("LIVEKIT_KEYS", &keys)]).ok();
    assert_eq!(claims(&signed)["iss"], *key);
}

#[test]
fn ports_are_listed_as_upstream_lists_them_and_need_no_keys() {
    let config = "{port: 7000, rtc: {udp_port: 7100-7103, tcp_port: 7001}, \
                  turn: {enabled: true, udp_port: 3478}, prometheus: {port: 6789}}";
    let text = skein(&["ports", "--config-body", config], &[]).ok();
    let expected = "TCP Ports\n7000 - HTTP service\n7001 - ICE/TCP\n6789 - Prometheus metrics\n\
                    UDP Ports\n7100-7103 - ICE/UDP range\n7000 - STUN\n3478 - TURN/UDP\n\
                    30000-40000 - TURN relay range\n";
    assert_eq!(text, expected);

    let rows = skein(&["--config-body", config, "ports", "--json"], &[]).json();
    let udp = json!({"protocol": "UDP", "first": 7100, "last": 7103, "purpose": "ICE/UDP"});
    assert!(rows.as_array().unwrap().contains(&udp), "{rows}");
}

#[test]
fn help_names_every_key_as_flag_and_variable_and_shows_examples() {
    let verbose = skein(&["help-verbose"], &[]).ok();
    assert!(verbose.contains("--rtc.congestion_control.allow_pause"));
    assert!(verbose.contains("LIVEKIT_RTC_CONGESTION_CONTROL_ALLOW_PAUSE"));
    for command in [
        &["--help"][..],
        &["room", "--help"],
        &["token", "create", "--help"],
        &["node", "--help"],
        &["list-nodes", "--help"],
        &["ports", "--help"],
    ] {
        let help = skein(command, &[]).ok();
        assert!(help.contains("Examples:\n  skein "), "{command:?}: {help}");
    }
    let secret = [
        ("LIVEKIT_KEYS", "k: hidden-one"),
        ("LIVEKIT_API_SECRET", "hidden-two"),
    ];
    let help = skein(&["room", "--help"], &secret).ok();
    assert!(!help.contains("hidden-"), "a secret is not printed: {help}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_skein"))
        .arg("help-verbose")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success());
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}

#[test]
fn tokens_let_their_holder_in() {
    let server = Server::start("");
    let validate = |token: &str| {
        get(&format!(
            "{}/rtc/validate?access_token={}",
            server.url(),
            token.trim().trim_start_matches("Token:").trim()
        ))
    };
    let joins = ["token", "create", "--room", "demo", "--identity", "ann"];
    assert_eq!(validate(&server.ask(&joins).ok()), (200, "success".into()));
    let old = ["create-join-token", "--room", "demo", "--identity", "ann"];
    let old = server.ask(&old).ok();
    assert!(old.starts_with("Token:  "), "{old}");
    assert_eq!(validate(&old), (200, "success".into()));

    let lists = server.ask(&["token", "create", "--list"]).ok();
    assert_eq!(validate(&lists).0, 401, "a right to list is none to join");
    let variables = [("LIVEKIT_API_KEY", KEY), ("LIVEKIT_API_SECRET", SECRET)];
    assert_eq!(validate(&skein(&joins, &variables).ok()).0, 200);
}

#[test]
fn a_token_may_come_in_a_posted_form_where_upstream_reads_forms() {
    let server = Server::start("");
    let url = format!("{}/rtc/validate", server.url());
    let form = format!("access_token={}&auto_subscribe=1", token(&server, "r", "i"));
    assert_eq!(post_form(&url, &form), (200, "success".into()));
    assert_eq!(post_form(&url, "access_token=x").0, 401);
    let large = format!("{form}&more={}", "x".repeat(100_000));
    assert_eq!(post_form(&url, &large).0, 401, "too large to be read");
}

#[test]
fn a_token_carries_what_was_asked_for() {
    let all = [
        "token",
        "create",
        "--room",
        "r",
        "--identity",
        "i",
        "--name",
        "Ann",
        "--metadata",
        "m",
        "--kind",
        "agent",
        "--valid-for",
        "1h30m",
        "--join",
        "--admin",
        "--hidden",
        "--no-publish",
        "--json",
    ];
    let answer = skein(&all, &[]).json();
    let claims = claims(answer["token"].as_str().unwrap());
    assert_eq!(claims, answer["claims"]);
    let lifetime = claims["exp"].as_i64().unwrap() - claims["nbf"].as_i64().unwrap();
    assert_eq!(lifetime, 5400);
    for (key, value) in [
        ("sub", "i"),
        ("name", "Ann"),
        ("metadata", "m"),
        ("kind", "agent"),
    ] {
        assert_eq!(claims[key], value, "{key}");
    }
    let video = &claims["video"];
    assert_eq!(video["room"], "r");
    for (right, value) in [("roomJoin", true), ("roomAdmin", true), ("hidden", true)] {
        assert_eq!(video[right], value, "{right}");
    }
    assert_eq!(video["canPublish"], false);

    let recorder = [
        "create-join-token",
        "--room",
        "r",
        "--identity",
        "i",
        "--recorder",
    ];
    let recorder = skein(&recorder, &[]).ok();
    let recorder = self::claims(recorder.trim_start_matches("Token:").trim());
    assert_eq!(recorder["video"]["recorder"], true);
    assert_eq!(recorder["video"]["canPublish"], false);
    assert_eq!(recorder["video"]["canPublishData"], false);
    let lifetime = recorder["exp"].as_i64().unwrap() - recorder["nbf"].as_i64().unwrap();
    assert_eq!(lifetime, 30 * 24 * 3600, "as upstream");
}

#[test]
fn a_token_that_would_be_useless_is_refused_with_the_remedy() {
    for (arguments, remedy) in [
        (&["token", "create"][..], "--identity"),
        (&["token", "create", "--identity", "i"], "--room"),
        (&["token", "create", "--join", "--room", "r"], "--identity"),
        (&["token", "create", "--admin"], "--room"),
        (
            &["token", "create", "--list", "--valid-for", "5 days"],
            "24h",
        ),
        (&["token", "create", "--kind", "robot"], "standard"),
    ] {
        let error = skein(arguments, &[]).failed(2);
        assert!(error.contains(remedy), "{arguments:?}: {error}");
    }
}

#[test]
fn rooms_are_listed_inspected_and_deleted() {
    let server = Server::start("");
    assert_eq!(server.ask(&["room", "list"]).ok(), "no rooms\n");
    assert_eq!(
        server.ask(&["room", "list", "--json"]).json(),
        json!({"rooms": []})
    );
    create_room(&server, "blue room/1");
    let _ann = join(&server, "blue room/1", "ann");

    let list = server.ask(&["room", "list"]).ok();
    let lines: Vec<&str> = list.lines().collect();
    assert!(lines[0].starts_with("NAME "), "{list}");
    assert!(lines[1].starts_with("blue room/1  RM_"), "{list}");
    let rooms = server.ask(&["room", "list", "--json"]).json();
    assert_eq!(rooms["rooms"][0]["name"], "blue room/1");

    let shown = server.ask(&["room", "inspect", "blue room/1"]).ok();
    assert!(
        shown.contains("ann ") && shown.contains("IDENTITY"),
        "{shown}"
    );
    let inspected = server.ask(&["room", "inspect", "blue room/1", "--json"]);
    assert_eq!(inspected.json()["participants"][0]["identity"], "ann");

    let deleted = server.ask(&["room", "delete", "blue room/1"]).ok();
    assert_eq!(deleted, "deleted blue room/1\n");
    for command in ["inspect", "delete"] {
        let error = server.ask(&["room", command, "blue room/1"]).failed(1);
        assert!(error.contains("there is no room `blue room/1`"), "{error}");
    }
}

#[test]
fn a_link_to_a_room_is_exchanged_for_a_token() {
    let server = Server::start("");
    let link = server.ask(&["room", "link", "demo", "--json"]).json();
    let text = server.ask(&["room", "link", "demo"]).ok();
    let page = format!("{}/room/#invite=", server.url());
    assert!(text.starts_with(&page), "{text}");
    assert!(link["link"].as_str().unwrap().starts_with(&page));
    let elsewhere = ["room", "link", "demo", "--url", "wss://example.org/"];
    let elsewhere = server.ask(&elsewhere).ok();
    assert!(
        elsewhere.starts_with("https://example.org/room/#"),
        "{elsewhere}"
    );
}

#[test]
fn a_node_says_how_it_is() {
    let server = Server::start("region: here\n");
    create_room(&server, "one");
    let status = server.ask(&["node", "status"]).ok();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in {status}"));
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(field("state"), "SERVING");
    assert_eq!(field("region"), "here");
    assert_eq!(field("rooms"), "1");
    let json = server.ask(&["node", "status", "--json"]).json();
    assert_eq!(json["rooms"], 1);
    assert!(json["load"]["cpus"].as_u64().unwrap() > 0);

    let nodes = server.ask(&["list-nodes"]).ok();
    assert!(nodes.lines().nth(1).unwrap().starts_with("ND_"), "{nodes}");
    let nodes = server.ask(&["list-nodes", "--json"]).json();
    assert_eq!(nodes[0]["node_id"], json["node_id"]);
    assert_eq!(nodes.as_array().unwrap().len(), 1);
}

#[test]
fn a_server_is_found_by_flag_variable_or_configuration() {
    let server = Server::start("");
    create_room(&server, "found");
    let url = server.url();
    let keys = [("LIVEKIT_API_KEY", KEY), ("LIVEKIT_API_SECRET", SECRET)];
    let by_flag = skein(&["room", "list", "--url", &url], &keys).ok();
    assert!(by_flag.contains("found"), "{by_flag}");
    let ws = url.replace("http", "ws");
    let variables = [&keys[..], &[("LIVEKIT_URL", ws.as_str())]].concat();
    assert!(skein(&["room", "list"], &variables).ok().contains("found"));
    let body = std::fs::read_to_string(&server.config).unwrap();
    let by_body = skein(&["room", "list"], &[("LIVEKIT_CONFIG", &body)]).ok();
    assert!(by_body.contains("found"), "{by_body}");
    let by_file = skein(
        &["room", "list"],
        &[("LIVEKIT_CONFIG_FILE", &server.config)],
    );
    assert!(by_file.ok().contains("found"));
    let rooms = room_service(&server, "ListRooms", &json!({}));
    assert_eq!(rooms["rooms"].as_array().unwrap().len(), 1);
}

#[test]
fn a_failure_says_what_to_do_and_exits_with_one() {
    // Port 9 (discard) of loopback: nothing listens there.
    let nobody = skein(&["room", "list", "--url", "http://127.0.0.1:9"], &[]).failed(1);
    assert!(
        nobody.contains("no server answers at http://127.0.0.1:9"),
        "{nobody}"
    );
    assert!(
        nobody.contains("refused") && nobody.contains("--url"),
        "{nobody}"
    );

    let server = Server::start("");
    let url = server.url();
    let wrong = skein(&["room", "list", "--url", &url], &[]).failed(1);
    assert!(
        wrong.contains("does not accept the API key `devkey`"),
        "{wrong}"
    );
    assert!(wrong.contains("LIVEKIT_API_SECRET"), "{wrong}");
    let none = skein(&["room", "list", "--config-body", "port: 7880"], &[]).failed(1);
    assert!(none.contains("--keys"), "{none}");
    let scheme = skein(&["room", "list", "--url", "example.org"], &[]).failed(2);
    assert!(scheme.contains("https://example.org"), "{scheme}");
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let typo = skein(
        &["--config-body", "{keys: {a: b}, rtc: {tcp_prot: 1}}"],
        &[],
    )
    .failed(1);
    assert!(typo.contains("did you mean `rtc.tcp_port`?"), "{typo}");
    let missing = skein(&["--config", "/nonexistent/livekit.yaml"], &[]).failed(1);
    assert!(missing.contains("/nonexistent/livekit.yaml"), "{missing}");
    let keyless = skein(&["--config-body", "port: 7880"], &[]).failed(1);
    assert!(keyless.contains("`keys`"), "{keyless}");
    let number = skein(&["--port", "many", "--dev"], &[]).failed(1);
    assert!(
        number.contains("port: invalid type: string \"many\""),
        "{number}"
    );
    let server = Server::start("");
    let taken = server.ask(&[]).failed(1);
    assert!(taken.contains("in use"), "{taken}");
    let unknown = skein(&["--prot", "1"], &[]).failed(2);
    assert!(unknown.contains("--port"), "{unknown}");
}

#[test]
fn flags_after_the_command_and_before_it_mean_the_same() {
    let server = Server::start("");
    let config = server.config.as_str();
    let before = skein(&["--config", config, "room", "list"], &[]).ok();
    let after = skein(&["room", "list", "--config", config], &[]).ok();
    assert_eq!(before, after);
    assert!(server.folder.path().exists());
}
