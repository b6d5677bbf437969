//! Which protocol a participant's candidates are limited to, remembered by identity: a client that
//! found UDP blocked and starts over must not try it again (LiveKit's `iceConfigCache`). Asked when
//! a participant joins; told by whoever decides the switch.

use std::collections::BTreeMap;
use std::time::Instant;

use media::types::Protocol;

use super::limits::{ICE_PREFERENCE_AGE_MAX, ICE_PREFERENCES_MAX};

#[derive(Debug, Default)]
pub(super) struct IcePreferences {
    of_identity: BTreeMap<String, (Protocol, Instant)>,
}

impl IcePreferences {
    /// UDP is no preference: everything is offered then.
    pub(super) fn set(&mut self, now: Instant, identity: &str, protocol: Protocol) {
        self.of_identity
            .retain(|_, (_, at)| now.saturating_duration_since(*at) < ICE_PREFERENCE_AGE_MAX);
        if protocol == Protocol::Udp {
            self.of_identity.remove(identity);
        } else if self.of_identity.len() < ICE_PREFERENCES_MAX {
            self.of_identity
                .insert(identity.to_owned(), (protocol, now));
        }
    }

    /// What the participant is limited to; each use keeps it for longer.
    pub(super) fn get(&mut self, now: Instant, identity: &str) -> Option<Protocol> {
        let (protocol, at) = self.of_identity.get_mut(identity)?;
        if now.saturating_duration_since(*at) >= ICE_PREFERENCE_AGE_MAX {
            self.of_identity.remove(identity);
            return None;
        }
        *at = now;
        Some(*protocol)
    }

    pub(super) fn is_set(&self, identity: &str) -> bool {
        self.of_identity.contains_key(identity)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_preference_ends_with_its_age_and_with_udp() {
        let start = Instant::now();
        let mut preferences = IcePreferences::default();
        preferences.set(start, "ann", Protocol::Tcp);
        let later = start + ICE_PREFERENCE_AGE_MAX - Duration::from_secs(1);
        assert_eq!(preferences.get(later, "ann"), Some(Protocol::Tcp));
        // Used: the age counts from then on.
        let much_later = later + ICE_PREFERENCE_AGE_MAX - Duration::from_secs(1);
        assert_eq!(preferences.get(much_later, "ann"), Some(Protocol::Tcp));
        assert_eq!(
            preferences.get(much_later + ICE_PREFERENCE_AGE_MAX, "ann"),
            None
        );

        preferences.set(start, "ben", Protocol::Tcp);
        preferences.set(start, "ben", Protocol::Udp);
        assert!(!preferences.is_set("ben"));
    }

    #[test]
    fn preferences_are_bounded() {
        let now = Instant::now();
        let mut preferences = IcePreferences::default();
        for number in 0..ICE_PREFERENCES_MAX + 5 {
            preferences.set(now, &number.to_string(), Protocol::Tcp);
        }
        assert_eq!(preferences.of_identity.len(), ICE_PREFERENCES_MAX);
    }
}
