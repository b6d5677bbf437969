//! `skein doctor`: what works from here, in a table for people or as JSON, and an exit status for
//! scripts. The checks are in `crate::doctor`.

use std::io::{self, IsTerminal, Write};

use clap::{Arg, ArgMatches, Command};

use super::{CliError, credentials, help, print, switch};
use crate::config::Config;
use crate::doctor::{self, Check, Report, State, Token};

pub(super) fn command() -> Command {
    let command = Command::new("doctor")
        .about("Say what works between here and a server, and what to open")
        .after_help(help::DOCTOR)
        .arg(
            Arg::new("server")
                .value_name("URL")
                .help("server to examine, as --url"),
        )
        .arg(
            Arg::new("token")
                .long("token")
                .value_name("TOKEN")
                .help("a participant's token, where there is no API key"),
        )
        .arg(switch("json", "print JSON"));
    credentials::with_server_flags(command)
}

pub(super) fn run(config: &Config, given: &ArgMatches) -> Result<(), CliError> {
    let url = match given.get_one::<String>("server") {
        Some(url) => credentials::http_url(url)?,
        None => credentials::url(config, given)?,
    };
    let token = match given.get_one::<String>("token") {
        Some(token) => Some(Token::Given(token.clone())),
        None => match credentials::keys(config, given) {
            Ok(keys) => Some(Token::SignedWith(keys)),
            Err(CliError::NoKeys) => None,
            Err(error) => return Err(error),
        },
    };
    let report = actix_rt::System::new().block_on(doctor::examine(&url, token));
    if given.get_flag("json") {
        print::json(&serde_json::to_value(&report)?)?;
    } else {
        show(&report)?;
    }
    match report.failed() {
        0 => Ok(()),
        failed => Err(CliError::ChecksFailed(failed, report.checks.len())),
    }
}

fn show(report: &Report) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let colours = out.is_terminal();
    writeln!(out, "{}\n", report.url)?;
    for check in &report.checks {
        let (mark, colour) = match check.state {
            State::Ok => ("ok  ", 32),
            State::Warning => ("hint", 33),
            State::Failed => ("FAIL", 31),
            State::Skipped => ("–   ", 90),
        };
        let mark = if colours {
            format!("\x1b[{colour}m{mark}\x1b[0m")
        } else {
            mark.to_owned()
        };
        let detail = print::plain(&check.detail.as_str().into());
        writeln!(out, "{mark}  {:<9} {detail}{}", check.name, figures(check))?;
        if let Some(advice) = &check.advice {
            let advice = print::plain(&advice.as_str().into());
            writeln!(out, "{:16}→ {advice}", "")?;
        }
    }
    let verdict = print::plain(&report.verdict.as_str().into());
    writeln!(out, "\n{verdict}")
}

fn figures(check: &Check) -> String {
    match (check.round_trip_ms, check.loss_percent) {
        (Some(round_trip), Some(loss)) => format!(" ({round_trip} ms, {loss} % lost)"),
        _ => String::new(),
    }
}
