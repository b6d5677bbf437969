//! Values: API keys, settings, application data. A version lets a writer say what it saw.

use rkyv::{Archive, Deserialize, Serialize};

use super::{Answer, State, check_length, full};
use crate::command::{Effect, Outcome, Refusal};
use crate::ids::{LogIndex, ValueKey};
use crate::limits::{NAME_BYTES_MAX, VALUE_BYTES_MAX, VALUES_MAX};

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Value {
    pub bytes: Vec<u8>,
    /// The log position that wrote it: never 0, and higher with every write.
    pub version: u64,
}

impl State {
    pub(super) fn set_value(
        &mut self,
        index: LogIndex,
        key: ValueKey,
        bytes: Vec<u8>,
        expected: Option<u64>,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        check_length("the key", key.0.len(), NAME_BYTES_MAX)?;
        check_length("the value", bytes.len(), VALUE_BYTES_MAX)?;
        let old = self.values.get(&key);
        check_version(expected, old)?;
        if old.is_none() && self.values.len() >= VALUES_MAX {
            return Err(full("values", VALUES_MAX));
        }
        let old_bytes = old.map_or(0, |value| value.bytes.len());
        self.book_bytes(old_bytes, bytes.len())?;
        let version = index.0;
        self.values.insert(key.clone(), Value { bytes, version });
        effects.push(Effect::ValueChanged { key, version });
        Ok(Outcome::Version(version))
    }

    pub(super) fn remove_value(
        &mut self,
        key: ValueKey,
        expected: Option<u64>,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        check_version(expected, self.values.get(&key))?;
        if let Some(value) = self.values.remove(&key) {
            self.book_bytes(value.bytes.len(), 0)?;
            effects.push(Effect::ValueRemoved { key });
        }
        Ok(Outcome::Done)
    }
}

fn check_version(expected: Option<u64>, value: Option<&Value>) -> Result<(), Refusal> {
    let found = value.map_or(0, |value| value.version);
    match expected {
        Some(expected) if expected != found => Err(Refusal::Conflict { expected, found }),
        _ => Ok(()),
    }
}
