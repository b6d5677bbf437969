//! Which way a participant's media is limited to, remembered by identity: a client that found UDP
//! blocked and starts over must not try it again (LiveKit's `iceConfigCache`). Asked when
//! a participant joins; told by whoever decides the switch.

use std::collections::BTreeMap;
use std::time::Instant;

use super::limits::{ICE_PREFERENCE_AGE_MAX, ICE_PREFERENCES_MAX};

/// What is left when UDP is no way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IcePreference {
    /// ICE over TCP to the node itself.
    Tcp,
    /// Only TURN over TLS.
    Tls,
}

#[derive(Debug, Default)]
pub(super) struct IcePreferences {
    of_identity: BTreeMap<String, (IcePreference, Instant)>,
}

impl IcePreferences {
    /// `None`: everything is offered again.
    pub(super) fn set(&mut self, now: Instant, identity: &str, wanted: Option<IcePreference>) {
        self.of_identity
            .retain(|_, (_, at)| now.saturating_duration_since(*at) < ICE_PREFERENCE_AGE_MAX);
        let Some(preference) = wanted else {
            self.of_identity.remove(identity);
            return;
        };
        if self.of_identity.contains_key(identity) || self.of_identity.len() < ICE_PREFERENCES_MAX {
            self.of_identity
                .insert(identity.to_owned(), (preference, now));
        }
    }

    /// What the participant is limited to; each use keeps it for longer.
    pub(super) fn get(&mut self, now: Instant, identity: &str) -> Option<IcePreference> {
        let (preference, at) = self.of_identity.get_mut(identity)?;
        if now.saturating_duration_since(*at) >= ICE_PREFERENCE_AGE_MAX {
            self.of_identity.remove(identity);
            return None;
        }
        *at = now;
        Some(*preference)
    }

    /// The same without keeping it for longer.
    pub(super) fn peek(&self, now: Instant, identity: &str) -> Option<IcePreference> {
        let (preference, at) = self.of_identity.get(identity)?;
        (now.saturating_duration_since(*at) < ICE_PREFERENCE_AGE_MAX).then_some(*preference)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_preference_ends_with_its_age_and_when_it_is_taken_back() {
        let start = Instant::now();
        let mut preferences = IcePreferences::default();
        preferences.set(start, "ann", Some(IcePreference::Tcp));
        let later = start + ICE_PREFERENCE_AGE_MAX - Duration::from_secs(1);
        assert_eq!(preferences.get(later, "ann"), Some(IcePreference::Tcp));
        // Used: the age counts from then on.
        let much_later = later + ICE_PREFERENCE_AGE_MAX - Duration::from_secs(1);
        assert_eq!(preferences.get(much_later, "ann"), Some(IcePreference::Tcp));
        assert_eq!(
            preferences.get(much_later + ICE_PREFERENCE_AGE_MAX, "ann"),
            None
        );

        preferences.set(start, "ben", Some(IcePreference::Tls));
        preferences.set(start, "ben", None);
        assert_eq!(preferences.peek(start, "ben"), None);
    }

    #[test]
    fn preferences_are_bounded() {
        let now = Instant::now();
        let mut preferences = IcePreferences::default();
        for number in 0..ICE_PREFERENCES_MAX + 5 {
            preferences.set(now, &number.to_string(), Some(IcePreference::Tcp));
        }
        assert_eq!(preferences.of_identity.len(), ICE_PREFERENCES_MAX);
        preferences.set(now, "3", Some(IcePreference::Tls));
        assert_eq!(
            preferences.peek(now, "3"),
            Some(IcePreference::Tls),
            "those known may change"
        );
    }
}
