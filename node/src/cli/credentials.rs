//! Where the server is and what a command signs with: flags and the variables LiveKit's own tools
//! read (`LIVEKIT_URL`, `LIVEKIT_API_KEY`, `LIVEKIT_API_SECRET`), else the configuration.

use clap::{Arg, ArgMatches, Command};
use protocol::token::Keys;

use super::CliError;
use crate::config::Config;
use crate::run::compose;

/// Adds the flags that say what to sign with, for the command and those below it.
pub(super) fn with_key_flags(command: Command) -> Command {
    let flag = |name, variable| Arg::new(name).long(name).env(variable).global(true);
    command
        .arg(
            flag("api-key", "LIVEKIT_API_KEY")
                .value_name("KEY")
                .help("API key to sign with; default: the first by name"),
        )
        .arg(
            flag("api-secret", "LIVEKIT_API_SECRET")
                .value_name("SECRET")
                .hide_env_values(true)
                .help("its secret"),
        )
}

pub(super) fn with_server_flags(command: Command) -> Command {
    with_key_flags(command).arg(
        Arg::new("url")
            .long("url")
            .value_name("URL")
            .global(true)
            .env("LIVEKIT_URL")
            .help("server to ask; default: where the configuration says it listens"),
    )
}

/// What to sign with. `given` are the matches of the innermost command.
pub(super) fn keys(config: &Config, given: &ArgMatches) -> Result<Keys, CliError> {
    let text = |name| {
        let value = given.get_one::<String>(name).cloned();
        value.filter(|value| !value.is_empty())
    };
    match (text("api-key"), text("api-secret")) {
        (Some(key), Some(secret)) => Ok(Keys::new([(key, secret)])),
        (Some(key), None) => {
            // The secret of a key that the configuration has need not be repeated.
            let secret = config.keys.get(&key).ok_or_else(|| {
                CliError::Usage(format!("the API key `{key}` needs --api-secret"))
            })?;
            Ok(Keys::new([(key, secret.expose().to_owned())]))
        }
        (None, Some(_)) => Err(CliError::Usage("--api-secret needs --api-key".into())),
        (None, None) if config.keys.is_empty() => Err(CliError::NoKeys),
        (None, None) => {
            // One that may do everything, if there is one.
            let operators = config.cluster.operators.iter();
            let mut known = operators.filter_map(|key| config.keys.get_key_value(key));
            match known.next() {
                Some((key, secret)) => Ok(Keys::new([(key.clone(), secret.expose().to_owned())])),
                None => Ok(compose::keys(config)),
            }
        }
    }
}

/// `http://…` of the server to ask, without a slash at its end.
pub(super) fn url(config: &Config, given: &ArgMatches) -> Result<String, CliError> {
    let given = given.get_one::<String>("url").filter(|url| !url.is_empty());
    let url = match given {
        None => configured(config),
        Some(url) => http_url(url)?,
    };
    Ok(url.trim_end_matches('/').to_owned())
}

/// The same of an address given by the user.
pub(super) fn http_url(url: &str) -> Result<String, CliError> {
    let http = match url.split_once("://") {
        Some(("http" | "https", _)) => url.to_owned(),
        Some(("ws", rest)) => format!("http://{rest}"),
        Some(("wss", rest)) => format!("https://{rest}"),
        _ => {
            return Err(CliError::Usage(format!(
                "`{url}` is not the URL of a server: it begins with http, https, ws or wss, \
                 as https://example.org"
            )));
        }
    };
    Ok(http.trim_end_matches('/').to_owned())
}

fn configured(config: &Config) -> String {
    let host = config.bind_addresses.first().map(String::as_str);
    let host = match host {
        None | Some("" | "0.0.0.0" | "::") => "127.0.0.1".to_owned(),
        Some(v6) if v6.contains(':') => format!("[{v6}]"),
        Some(host) => host.to_owned(),
    };
    format!("http://{host}:{}", config.port)
}
