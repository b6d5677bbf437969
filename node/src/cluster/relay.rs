//! Rooms that span nodes. A room's core stays at its home; participants carried elsewhere are on
//! places of that node, which are to the room what further shards are. `guests` is the home's side,
//! `host` the other one, `wire` what they say; frames of relayed tracks go by `carriage` past both.

pub mod arrivals;
pub mod carriage;
pub mod guests;
pub mod host;
pub mod neighbours;
pub mod places;
pub mod plane;
mod queue;
#[cfg(test)]
mod tests;
pub mod wire;
