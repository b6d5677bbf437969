//! The only sockets of the program: media over UDP and TCP, and HTTP. No protocol logic beyond
//! framing; `worker` and `run` drive it.

pub mod body;
pub mod gate;
pub mod gather;
pub mod http;
pub mod interfaces;
pub mod stun;
pub mod tcp;
pub mod tls;
pub mod turn;
pub mod udp;
