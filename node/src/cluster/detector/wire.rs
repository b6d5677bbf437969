//! What detectors say to each other, as bytes: a version, what it is, fixed fields, big endian.
//! Sent and answered over `Service::Liveness`; anything else is refused by name.

use consensus::ids::{Epoch, NodeId};

use super::{Cause, Suspicion};

const VERSION: u8 = 1;
const TOLD_BYTES: usize = 1 + 8 + 8;

/// A question of one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Do you live? Any answer will do.
    Ask,
    /// The sender's opinion.
    Tell(Suspicion),
    /// The answer is a `Ticket`.
    Ticket,
    /// The sender is about to restart.
    Farewell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("version {0} is not known")]
    Version(u8),
    #[error("message {0} is not known")]
    Kind(u8),
    #[error("{0} bytes are not what was expected")]
    Length(usize),
}

impl Message {
    pub fn encode(self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        match self {
            Self::Ask => bytes.push(0),
            Self::Tell(suspicion) => {
                bytes.push(1);
                bytes.push(match suspicion.cause {
                    Cause::Process => 0,
                    Cause::Silence => 1,
                });
                bytes.extend_from_slice(&suspicion.node.0.to_be_bytes());
                bytes.extend_from_slice(&suspicion.incarnation.0.to_be_bytes());
            }
            Self::Ticket => bytes.push(2),
            Self::Farewell => bytes.push(3),
        }
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let [version, kind, rest @ ..] = bytes else {
            return Err(WireError::Length(bytes.len()));
        };
        if *version != VERSION {
            return Err(WireError::Version(*version));
        }
        let bare = |message| match rest.is_empty() {
            true => Ok(message),
            false => Err(WireError::Length(bytes.len())),
        };
        match kind {
            0 => bare(Self::Ask),
            1 => decode_suspicion(rest).map(Self::Tell),
            2 => bare(Self::Ticket),
            3 => bare(Self::Farewell),
            other => Err(WireError::Kind(*other)),
        }
    }
}

fn decode_suspicion(bytes: &[u8]) -> Result<Suspicion, WireError> {
    let bytes: &[u8; TOLD_BYTES] = bytes
        .try_into()
        .map_err(|_| WireError::Length(bytes.len()))?;
    let [cause, rest @ ..] = bytes;
    let mut numbers = rest.chunks_exact(8).map(|number| {
        number
            .iter()
            .fold(0_u64, |all, byte| (all << 8) | u64::from(*byte))
    });
    let mut number = || numbers.next().unwrap_or_default();
    Ok(Suspicion {
        node: NodeId(number()),
        incarnation: Epoch(number()),
        cause: match cause {
            0 => Cause::Process,
            _ => Cause::Silence,
        },
    })
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        for cause in [Cause::Process, Cause::Silence] {
            let told = Message::Tell(Suspicion {
                node: NodeId(0x0102_0304_0506_0708),
                incarnation: Epoch(u64::MAX - 1),
                cause,
            });
            for message in [Message::Ask, told, Message::Ticket, Message::Farewell] {
                assert_eq!(Message::decode(&message.encode()), Ok(message));
            }
        }
    }

    #[test]
    fn hostile_bytes_are_refused_or_mean_what_they_say() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        for _ in 0..20_000 {
            let length = rng.random_range(0..24);
            let mut bytes: Vec<u8> = (0..length).map(|_| rng.random_range(0..4)).collect();
            if let Ok(message) = Message::decode(&bytes) {
                // Any cause but the first reads as silence, the weaker one.
                if bytes.len() > 2 {
                    bytes[2] = bytes[2].min(1);
                }
                assert_eq!(message.encode(), bytes);
            }
        }
    }
}
