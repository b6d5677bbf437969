//! Keys of the configuration as an operator notices them.

use crate::asking::{create_room, get};
use crate::server::Server;

#[test]
fn keys_that_change_nothing_are_named_once_at_the_start() {
    let server = Server::start(
        "  use_ice_lite: true\n  use_mdns: false\nredis: {address: 'r:6379', password: hidden}\n\
         signal_relay: {stream_buffer_size: 9}\nroom: {empty_timeout: 9}",
    );
    server.wait_for(&["serving"]);
    let log = server.log();
    let named = |key: &str| {
        let key = format!("\"{key}\"");
        let warnings = log.iter().filter(|line| line.contains("changes nothing"));
        warnings.filter(|line| line.contains(&key)).count()
    };
    assert_eq!(named("rtc.use_ice_lite"), 1, "{log:#?}");
    assert_eq!((named("redis"), named("signal_relay")), (1, 1), "{log:#?}");
    assert_eq!(named("rtc.use_mdns"), 0, "a default is no news: {log:#?}");
    assert_eq!(named("room.empty_timeout"), 0, "{log:#?}");
    assert!(!log.join("\n").contains("hidden"), "{log:#?}");
}

#[test]
fn the_debug_handler_shows_every_room_on_its_own_port_only() {
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let server = Server::start(&format!("debug_handler: {{port: {port}}}"));
    create_room(&server, "one");
    let (status, rooms) = get(&format!("http://127.0.0.1:{port}/debug/rooms"));
    assert_eq!(status, 200);
    let rooms: serde_json::Value = serde_json::from_str(&rooms).unwrap();
    assert_eq!(rooms[0]["name"], "one");
    assert_eq!(get(&format!("{}/debug/rooms", server.url())).0, 404);
}
