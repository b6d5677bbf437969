//! What works from here: a client that reaches a server in every way a participant could and says
//! in plain words what does not work and what to open. `skein doctor` prints its report. It changes
//! nothing but a room of its own, which ends with it.

pub mod dial;
mod link;
mod measure;
mod paths;
mod signal;
mod turn_client;

use std::time::Duration;

use serde::Serialize;

pub(crate) use signal::innermost;

pub use paths::examine_paths;
pub use signal::Token;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok,
    /// Works, but not as well as it could.
    Warning,
    Failed,
    /// Another check has to pass first.
    Skipped,
}

/// One row of the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub state: State,
    /// What was seen.
    pub detail: String,
    /// What to do, where something is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_percent: Option<f64>,
}

impl Check {
    fn new(name: &'static str, state: State, detail: impl Into<String>) -> Check {
        Check {
            name,
            state,
            detail: detail.into(),
            advice: None,
            round_trip_ms: None,
            loss_percent: None,
        }
    }

    fn ok(name: &'static str, detail: impl Into<String>) -> Check {
        Check::new(name, State::Ok, detail)
    }

    fn failed(name: &'static str, detail: impl Into<String>) -> Check {
        Check::new(name, State::Failed, detail)
    }

    fn warning(name: &'static str, detail: impl Into<String>) -> Check {
        Check::new(name, State::Warning, detail)
    }

    fn skipped(name: &'static str, detail: impl Into<String>) -> Check {
        Check::new(name, State::Skipped, detail)
    }

    fn advise(mut self, advice: impl Into<String>) -> Check {
        self.advice = Some(advice.into());
        self
    }

    /// With what was measured; much loss is worth a warning.
    fn measured(mut self, measured: &measure::Measured) -> Check {
        self.round_trip_ms = Some((measured.round_trip.as_secs_f64() * 1e4).round() / 10.0);
        self.loss_percent = Some(measured.loss_percent());
        if measured.loss_percent() > LOSS_PERCENT_MAX && self.state == State::Ok {
            self.state = State::Warning;
            self.advice = Some("the way loses packets: try a cable, or another network".into());
        }
        self
    }
}

/// Beyond this share of lost packets people notice.
const LOSS_PERCENT_MAX: f64 = 5.0;

/// The names of the checks, in the order they are shown.
pub(crate) mod name {
    pub(crate) const SERVER: &str = "server";
    pub(crate) const CLOCK: &str = "clock";
    pub(crate) const SIGNAL: &str = "signal";
    pub(crate) const UDP: &str = "UDP";
    pub(crate) const TCP: &str = "TCP";
    pub(crate) const TURN_UDP: &str = "TURN/UDP";
    pub(crate) const TURN_TLS: &str = "TURN/TLS";
}

/// Everything that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub url: String,
    /// No check failed.
    pub ok: bool,
    /// The sum of it in one sentence.
    pub verdict: String,
    pub checks: Vec<Check>,
}

impl Report {
    fn new(url: &str, checks: Vec<Check>) -> Report {
        Report {
            url: url.to_owned(),
            ok: checks.iter().all(|check| check.state != State::Failed),
            verdict: verdict(&checks),
            checks,
        }
    }

    pub fn failed(&self) -> usize {
        let failed = |check: &&Check| check.state == State::Failed;
        self.checks.iter().filter(failed).count()
    }
}

fn verdict(checks: &[Check]) -> String {
    let state = |name| {
        let found = checks.iter().find(|check| check.name == name);
        found.map_or(State::Skipped, |check| check.state)
    };
    let works = |name| matches!(state(name), State::Ok | State::Warning);
    if !works(name::SERVER) {
        return "Nobody can connect from here: the server does not answer.".into();
    }
    if state(name::SIGNAL) == State::Skipped {
        return "The server answers; media was not tested.".into();
    }
    if !works(name::SIGNAL) {
        return "Nobody can connect from here: the signal connection fails.".into();
    }
    let relayed = |name| state(name) == State::Ok;
    if works(name::UDP) {
        "People can meet from here, over UDP: the best there is.".into()
    } else if works(name::TCP) {
        "People can meet from here, over TCP: it works, and stutters when the network does.".into()
    } else if relayed(name::TURN_UDP) {
        "People can meet from here, through the TURN server over UDP.".into()
    } else if relayed(name::TURN_TLS) {
        "People can meet from here, through the TURN server over TLS only.".into()
    } else {
        "People can sign in from here but not see or hear anybody: no media passes.".into()
    }
}

/// Looks at the server behind `url` (`http://…`), with a token or a way to make one.
pub async fn examine(url: &str, token: Option<Token>) -> Report {
    let mut checks = signal::server(url).await;
    let reachable = checks.iter().all(|check| check.state != State::Failed);
    let rest = [name::UDP, name::TCP, name::TURN_UDP, name::TURN_TLS];
    let Some(token) = token.filter(|_| reachable) else {
        let why = if reachable {
            "no API key: give --token, --api-key and --api-secret, or --config"
        } else {
            "the server has to answer first"
        };
        checks.push(Check::skipped(name::SIGNAL, why));
        checks.extend(rest.map(|name| Check::skipped(name, "the signal connection comes first")));
        return Report::new(url, checks);
    };
    let (check, joined) = signal::join(url, &token).await;
    checks.push(check);
    match joined {
        Some(joined) => {
            checks.extend(examine_paths(&joined).await);
            joined.leave().await;
        }
        None => {
            checks.extend(rest.map(|name| Check::skipped(name, "the signal connection failed")));
        }
    }
    Report::new(url, checks)
}

/// How long the slowest answer of a network is waited for.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn report(states: [State; 6]) -> Report {
        let names = [
            name::SERVER,
            name::SIGNAL,
            name::UDP,
            name::TCP,
            name::TURN_UDP,
            name::TURN_TLS,
        ];
        let checks = names.into_iter().zip(states);
        let checks = checks.map(|(name, state)| Check::new(name, state, ""));
        Report::new("http://h", checks.collect())
    }

    #[test]
    fn the_verdict_names_the_best_way_that_is_open() {
        use State::{Failed as F, Ok as O, Skipped as S, Warning as W};
        for (states, words) in [
            ([O, O, O, O, O, O], "over UDP: the best"),
            ([O, O, F, O, O, O], "over TCP"),
            ([O, O, F, F, O, O], "TURN server over UDP"),
            ([O, O, F, F, F, O], "over TLS only"),
            ([O, O, F, F, W, W], "no media passes"),
            ([O, F, S, S, S, S], "signal connection fails"),
            ([O, S, S, S, S, S], "media was not tested"),
            ([F, S, S, S, S, S], "does not answer"),
        ] {
            let report = report(states);
            assert!(report.verdict.contains(words), "{}", report.verdict);
            assert_eq!(report.ok, !states.contains(&F));
        }
    }
}
