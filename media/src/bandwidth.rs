//! How much a peer may send or get: the estimate of the path towards a subscriber (delay, loss,
//! delivered rate, probes), the pacer, the distribution among its tracks, and an estimate for
//! publishers that follow REMB. Sans-IO arithmetic on values the shard hands in; knows no packets.

pub(crate) mod allocator;
pub(crate) mod delay;
pub(crate) mod estimator;
pub(crate) mod loss;
pub(crate) mod pacer;
pub(crate) mod probe;
pub(crate) mod rate_window;
pub(crate) mod receive_estimate;
pub(crate) mod send_side;
pub(crate) mod sent_packets;

pub(crate) use receive_estimate::ReceiveEstimate;
