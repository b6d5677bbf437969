//! Who may change the nodes of a cluster: tokens of the API keys that the configuration names. The
//! token of an application's backend makes rooms and lists them; it must not take machines away.

use crate::auth::Caller;
use crate::config::Config;

/// API keys of operators. Clones are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operators {
    keys: Vec<String>,
}

impl Operators {
    /// `cluster.operators`, or the only key there is.
    pub fn of(config: &Config) -> Self {
        let named = &config.cluster.operators;
        let keys = match (named.is_empty(), config.keys.len()) {
            (true, 1) => config.keys.keys().cloned().collect(),
            _ => named.clone(),
        };
        Self { keys }
    }

    /// `Err`: what to tell the caller.
    pub fn admit(&self, caller: &Caller) -> Result<(), &'static str> {
        let rights = caller
            .may_list_rooms()
            .and_then(|()| caller.may_create_rooms());
        if rights.is_err() {
            return Err("permissions denied");
        }
        let issuer = caller.0.as_ref().map(|claims| &claims.issuer);
        match issuer.is_some_and(|issuer| self.keys.contains(issuer)) {
            true => Ok(()),
            false => Err("not an operator's token: name its API key in cluster.operators"),
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::grants::{Claims, VideoGrant};

    use super::*;
    use crate::config::Secret;

    fn caller(issuer: &str, rights: bool) -> Caller {
        let video = VideoGrant {
            room_create: rights,
            room_list: true,
            ..VideoGrant::default()
        };
        Caller(Some(Claims {
            issuer: issuer.into(),
            video: Some(video),
            ..Claims::default()
        }))
    }

    fn operators(named: &[&str], keys: &[&str]) -> Operators {
        let mut config = Config::default();
        config.cluster.operators = named.iter().map(ToString::to_string).collect();
        let secret = || Secret("s".repeat(32));
        config.keys = keys.iter().map(|key| (key.to_string(), secret())).collect();
        Operators::of(&config)
    }

    #[test]
    fn only_named_keys_or_the_only_one_change_nodes() {
        let alone = operators(&[], &["app"]);
        assert!(alone.admit(&caller("app", true)).is_ok());
        assert!(alone.admit(&caller("app", false)).is_err());
        let several = operators(&[], &["app", "other"]);
        assert!(several.admit(&caller("app", true)).is_err());
        let named = operators(&["ops"], &["app", "ops"]);
        assert!(named.admit(&caller("ops", true)).is_ok());
        assert!(named.admit(&caller("app", true)).is_err());
        assert!(named.admit(&Caller(None)).is_err());
    }
}
