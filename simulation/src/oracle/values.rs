//! What each value was at each index, from the commands and their answers alone.

use std::collections::BTreeMap;

use consensus::command::{Action, Outcome, Refusal};
use consensus::ids::{LogIndex, ValueKey};

/// Index that changed it, and to what.
type Change = (u64, Option<Vec<u8>>);

#[derive(Default)]
pub(crate) struct Values {
    history: BTreeMap<ValueKey, Vec<Change>>,
}

impl Values {
    /// What is wrong with an answer.
    pub(crate) fn apply(
        &mut self,
        index: LogIndex,
        action: &Action,
        answer: &Result<Outcome, Refusal>,
    ) -> Option<String> {
        let (key, expected, new) = match action {
            Action::SetValue {
                key,
                value,
                expected,
            } => (key, expected, Some(value.clone())),
            Action::RemoveValue { key, expected } => (key, expected, None),
            _ => return None,
        };
        let history = self.history.entry(key.clone()).or_default();
        let version = match history.last() {
            Some((version, Some(_))) => *version,
            _ => 0,
        };
        let fits = expected.is_none_or(|expected| expected == version);
        match answer {
            Ok(_) if !fits => Some(format!("{key} was {version}, {expected:?} was expected")),
            Err(Refusal::Conflict { .. }) if fits => Some(format!("{key} was refused")),
            Ok(Outcome::Version(told)) if *told != index.0 => Some(format!("{key} is {told}")),
            Ok(_) => {
                history.push((index.0, new));
                None
            }
            Err(_) => None,
        }
    }

    /// As of the entry before `end`.
    pub(crate) fn before(&self, key: &ValueKey, end: u64) -> Option<&[u8]> {
        let history = self.history.get(key)?;
        let at = history.partition_point(|(index, _)| *index < end);
        history.get(at.checked_sub(1)?)?.1.as_deref()
    }
}
