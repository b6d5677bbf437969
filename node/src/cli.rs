//! The command line: flags as upstream names them, every scalar of the configuration as a hidden
//! dotted flag, and sub-commands. `main` calls `run`; commands live in `cli/`.

mod client;
mod keys;
mod remote;
mod tokens;

use std::collections::BTreeMap;
use std::io::{self, Write};

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::load::known_scalars;
use crate::config::{self, Config, ConfigError, Overrides};
use crate::run::{self, RunError};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("asking the server: {0}")]
    Request(#[from] reqwest::Error),
    #[error("the server answered {status}: {body}")]
    Refused { status: u16, body: String },
    #[error("signing: {0}")]
    Sign(#[from] protocol::token::SignError),
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Flags with names of their own that set a key of the configuration.
const SHORT_FLAGS: [(&str, &str, &str); 6] = [
    (
        "node-ip",
        "rtc.node_ip",
        "address clients reach this node at",
    ),
    (
        "udp-port",
        "rtc.udp_port",
        "UDP port or range of ports for media",
    ),
    (
        "redis-host",
        "redis.address",
        "accepted for compatibility; Skein needs no Redis",
    ),
    (
        "redis-password",
        "redis.password",
        "accepted for compatibility",
    ),
    (
        "turn-cert",
        "turn.cert_file",
        "certificate of the TURN server",
    ),
    ("turn-key", "turn.key_file", "key of that certificate"),
];

/// Parses the arguments of the process and does what they say.
pub fn run() -> Result<(), CliError> {
    let matches = command().get_matches();
    let overrides = overrides(&matches);
    match matches.subcommand() {
        None => Ok(run::run(config::load(&overrides)?)?),
        Some(("generate-keys", _)) => keys::generate(),
        Some(("help-verbose", _)) => help_verbose(),
        Some(("ports", _)) => ports(&config::load(&overrides)?),
        Some(("create-join-token", given)) => tokens::join(&config::load(&overrides)?, given),
        Some(("token", given)) => tokens::run(&config::load(&overrides)?, given),
        Some((name, given)) => remote::run(&config::load(&overrides)?, name, given),
    }
}

fn command() -> Command {
    let mut command = Command::new("skein")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A LiveKit-compatible server for real-time video")
        .after_help(
            "Every scalar key of the configuration is also a flag of its dotted name and a \
             variable LIVEKIT_<NAME>; `skein help-verbose` lists them.",
        )
        .subcommand_negates_reqs(true)
        .args(base_flags())
        .subcommand(Command::new("generate-keys").about("Make an API key and its secret"))
        .subcommand(Command::new("ports").about("List the ports the configuration uses"))
        .subcommand(Command::new("help-verbose").about("List every flag and variable"))
        .subcommand(remote::list_nodes_command())
        .subcommand(tokens::join_command())
        .subcommand(tokens::token_command())
        .subcommand(remote::room_command())
        .subcommand(remote::node_command());
    for (flag, _, help) in SHORT_FLAGS {
        command = command.arg(value_flag(flag, help));
    }
    for key in known_scalars() {
        let taken = command
            .get_arguments()
            .any(|arg| arg.get_id() == key.path.as_str());
        if !taken {
            command = command.arg(value_flag(&key.path, "").hide(true));
        }
    }
    command
}

fn value_flag(name: &str, help: &str) -> Arg {
    let arg = Arg::new(name.to_owned()).long(name.to_owned()).global(true);
    // Durations and levels may be negative numbers to the parser's eye.
    arg.allow_hyphen_values(true).help(help.to_owned())
}

fn base_flags() -> Vec<Arg> {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .help(help)
            .global(true)
            .action(ArgAction::SetTrue)
    };
    vec![
        value_flag("config", "path of the configuration file").env("LIVEKIT_CONFIG_FILE"),
        value_flag("config-body", "configuration as YAML text").env("LIVEKIT_CONFIG"),
        flag(
            "dev",
            "development mode: key `devkey`, secret `secret`, loopback",
        ),
        flag(
            "disable-strict-config",
            "ignore unknown keys of the configuration",
        ),
        value_flag("keys", "API keys, `key: secret` each").env("LIVEKIT_KEYS"),
        value_flag("key-file", "file of API keys, readable by its owner only")
            .env("LIVEKIT_KEY_FILE"),
        value_flag("bind", "address to listen on; may be repeated").action(ArgAction::Append),
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
    for (flag, path, _) in SHORT_FLAGS {
        if let Some(value) = text(flag) {
            scalars.insert(path.to_owned(), value);
        }
    }
    let bind = matches.get_many::<String>("bind").unwrap_or_default();
    Overrides {
        config_file: text("config"),
        config_body: text("config-body"),
        dev: matches.get_flag("dev"),
        disable_strict: matches.get_flag("disable-strict-config"),
        keys: text("keys"),
        key_file: text("key-file"),
        bind: bind.cloned().collect(),
        scalars,
        environment: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
    }
}

fn help_verbose() -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", command().render_long_help())?;
    writeln!(out, "Keys of the configuration, as flags and variables:")?;
    for key in known_scalars() {
        writeln!(out, "  --{:<60} {}", key.path, key.environment_name())?;
    }
    Ok(())
}

fn ports(config: &Config) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    let mut line = |protocol: &str, port: &dyn std::fmt::Display, what: &str| {
        writeln!(out, "{protocol:<4} {port:<13} {what}")
    };
    line("TCP", &config.port, "HTTP, WebSocket")?;
    if config.rtc.tcp_port != 0 {
        line("TCP", &config.rtc.tcp_port, "ICE/TCP")?;
    }
    let udp = config.rtc.udp_port;
    if udp.is_single() {
        line("UDP", &udp.start, "ICE/UDP")?;
    } else {
        line(
            "UDP",
            &format!("{}-{}", udp.start, udp.end),
            "ICE/UDP, one a shard",
        )?;
    }
    if config.prometheus.port != 0 {
        line("TCP", &config.prometheus.port, "metrics")?;
    }
    Ok(())
}
