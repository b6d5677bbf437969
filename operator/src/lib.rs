//! Running a cluster: how many media nodes there should be (`autoscale`), how one of them is
//! emptied (`drain`), and what cloud groups are told and say (`cloud`). The first two are pure
//! decisions; `node` gives them what they look at and carries out what they want. The map is in
//! README.md.

pub mod autoscale;
pub mod cloud;
pub mod drain;
pub mod limits;
