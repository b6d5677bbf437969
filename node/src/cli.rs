//! The command line: flags as upstream names them, every scalar of the configuration as a hidden
//! dotted flag, and sub-commands. `main` calls `run`; commands live in `cli/`.

mod client;
mod cluster;
mod credentials;
mod doctor;
mod drains;
mod errors;
mod help;
mod keys;
mod ports;
mod print;
mod remote;
mod tokens;

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, Command};

pub use errors::CliError;

use crate::config::load::known_scalars;
use crate::config::{self, Overrides};
use crate::run;

/// Flags with names of their own that set a key of the configuration.
const SHORT_FLAGS: [(&str, &str, &str, &str); 6] = [
    (
        "node-ip",
        "IP",
        "rtc.node_ip",
        "address clients reach this node at [env: NODE_IP]",
    ),
    (
        "udp-port",
        "PORT[-PORT]",
        "rtc.udp_port",
        "UDP port or range of ports for media [env: UDP_PORT]",
    ),
    (
        "redis-host",
        "HOST:PORT",
        "redis.address",
        "accepted for compatibility; Skein needs no Redis",
    ),
    (
        "redis-password",
        "PASSWORD",
        "redis.password",
        "accepted for compatibility",
    ),
    (
        "turn-cert",
        "FILE",
        "turn.cert_file",
        "certificate of the TURN server [env: LIVEKIT_TURN_CERT]",
    ),
    (
        "turn-key",
        "FILE",
        "turn.key_file",
        "key of that certificate [env: LIVEKIT_TURN_KEY]",
    ),
];

/// Parses the arguments of the process and does what they say.
pub fn run() -> Result<(), CliError> {
    run_with(std::env::args_os())
}

fn run_with(arguments: impl IntoIterator<Item = OsString>) -> Result<(), CliError> {
    let matches = command().get_matches_from(arguments);
    let overrides = overrides(&matches);
    match matches.subcommand() {
        None => Ok(run::run(config::load(&overrides)?)?),
        Some(("generate-keys", given)) => keys::generate(given),
        Some(("help-verbose", _)) => help::verbose(),
        Some(("doctor", given)) => doctor::run(&config::read(&overrides)?, given),
        Some(("ports", given)) => ports::list(&config::read(&overrides)?, given),
        Some(("create-join-token", given)) => tokens::join(&config::read(&overrides)?, given),
        Some(("cluster", given)) => cluster::run(&config::read(&overrides)?, given),
        Some(("token", given)) => tokens::run(&config::read(&overrides)?, given),
        Some((name, given)) => remote::run(&config::read(&overrides)?, name, given),
    }
}

fn command() -> Command {
    let mut command = Command::new("skein")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A LiveKit-compatible server for real-time video; without a command it serves")
        .after_help(help::MAIN)
        .args(base_flags())
        .subcommand(keys::command())
        .subcommand(ports::command())
        .subcommand(doctor::command())
        .subcommand(cluster::command())
        .subcommand(help::command())
        .subcommand(remote::list_nodes_command())
        .subcommand(tokens::join_command())
        .subcommand(tokens::token_command())
        .subcommand(remote::room_command())
        .subcommand(remote::node_command());
    for (flag, value, _, help) in SHORT_FLAGS {
        command = command.arg(value_flag(flag, value, help));
    }
    for key in known_scalars() {
        let taken = command
            .get_arguments()
            .any(|arg| arg.get_id() == key.path.as_str());
        if !taken {
            command = command.arg(value_flag(&key.path, "VALUE", "").hide(true));
        }
    }
    command
}

fn value_flag(name: &str, value: &'static str, help: &str) -> Arg {
    let arg = Arg::new(name.to_owned()).long(name.to_owned()).global(true);
    // Durations and levels may be negative numbers to the parser's eye.
    arg.allow_hyphen_values(true)
        .value_name(value)
        .help(help.to_owned())
}

/// A flag without a value, of one sub-command.
fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .help(help)
        .action(ArgAction::SetTrue)
}

fn base_flags() -> Vec<Arg> {
    let flag = |name, help| switch(name, help).global(true);
    vec![
        value_flag(
            "config",
            "FILE",
            "configuration, as of LiveKit (livekit.yaml)",
        )
        .env("LIVEKIT_CONFIG_FILE"),
        value_flag(
            "config-body",
            "YAML",
            "configuration as text; wins over --config",
        )
        .env("LIVEKIT_CONFIG")
        .hide_env_values(true),
        flag(
            "dev",
            "development mode: key `devkey`, secret `secret`, on loopback",
        ),
        flag(
            "disable-strict-config",
            "ignore unknown keys of the configuration",
        ),
        value_flag("keys", "KEYS", "API keys, `key: secret` a line")
            .env("LIVEKIT_KEYS")
            .hide_env_values(true),
        value_flag(
            "key-file",
            "FILE",
            "API keys, in a file others may not read",
        )
        .env("LIVEKIT_KEY_FILE"),
        value_flag("bind", "IP", "address to listen on; may be repeated").action(ArgAction::Append),
    ]
}

fn overrides(matches: &ArgMatches) -> Overrides {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let mut scalars = BTreeMap::new();
    for key in known_scalars() {
        if let Some(value) = text(&key.path) {
            scalars.insert(key.path, value);
        }
    }
    for (flag, _, path, _) in SHORT_FLAGS {
        if let Some(value) = text(flag) {
            scalars.insert(path.to_owned(), value);
        }
    }
    let bind = matches.get_many::<String>("bind").unwrap_or_default();
    Overrides {
        config_file: text("config").filter(|path| !path.is_empty()),
        config_body: text("config-body").filter(|body| !body.trim().is_empty()),
        dev: matches.get_flag("dev"),
        disable_strict: matches.get_flag("disable-strict-config"),
        keys: text("keys").filter(|keys| !keys.trim().is_empty()),
        key_file: text("key-file").filter(|path| !path.is_empty()),
        bind: bind.cloned().collect(),
        scalars,
        environment: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        command().debug_assert();
    }
}
