//! What Prometheus scrapes.

use crate::asking::{create_room, get};
use crate::server::Server;

#[test]
fn the_metrics_port_tells_rooms_and_participants() {
    let server = Server::start("");
    create_room(&server, "counted");
    let (status, text) = get(&format!("http://127.0.0.1:{}/metrics", server.metrics));
    assert_eq!(status, 200);
    assert!(text.contains("node_type=\"SERVER\""), "{text}");
}
