//! What the node says about itself: logs, metrics, load. Set up once by `run`.

pub mod census;
pub mod logs;
pub mod metrics;
pub mod node_stats;
pub(crate) mod room_events;
pub mod traffic;
