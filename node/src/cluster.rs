//! The cluster plane of a node: how nodes reach each other, who is a member, where rooms are and
//! what happens when a node dies. Composed by `run`; the rules are `consensus`'s, the packets
//! `media`'s.

pub mod fabric;
pub mod limits;
pub mod detector;
pub mod links;
pub mod membership;
pub mod node;
