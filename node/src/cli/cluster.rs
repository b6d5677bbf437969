//! `skein cluster token`, which makes the secret of a cluster, and `skein cluster status`, which
//! asks any node of it; `skein node drain|undrain|remove` are told to it the same way.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Arg, ArgMatches, Command};
use protocol::grants::VideoGrant;
use serde_json::Value;

use super::client::Client;
use super::{CliError, credentials, drains, help, print, switch};
use crate::cluster::report::{NodeReport, Report};
use crate::config::Config;
use crate::run::{RunError, compose};

pub(super) fn command() -> Command {
    let status = Command::new("status").about("Who is in the cluster, how it is, what to do");
    let status = credentials::with_server_flags(status).arg(switch("json", "print JSON"));
    Command::new("cluster")
        .about("Several nodes that are one server")
        .after_help(help::CLUSTER)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("token").about("Make the secret all nodes of a cluster share"))
        .subcommand(status)
}

/// What can be told about one node.
pub(super) fn node_verbs() -> Vec<Command> {
    let verb = |name: &'static str, about: &'static str| {
        let node = Arg::new("node").required(true).value_name("NODE");
        let node = node.help("id, cluster address, or host of the node");
        Command::new(name).about(about).arg(node)
    };
    vec![
        drains::with_flags(verb("drain", "Move everything off a node")),
        Command::new("drains").about("Nodes that drain, and how far they are"),
        verb("undrain", "Give a drained node work again"),
        verb("remove", "Take a node that is gone out of the cluster"),
    ]
}

pub(super) fn run(config: &Config, given: &ArgMatches) -> Result<(), CliError> {
    match given.subcommand() {
        Some(("status", inner)) => actix_rt::System::new().block_on(status(config, inner)),
        _ => token(),
    }
}

/// 256 random bits; everything else is derived from it.
fn token() -> Result<(), CliError> {
    let bytes: [u8; 32] = compose::entropy().map_err(|_| RunError::NoEntropy)?;
    writeln!(io::stdout(), "{}", URL_SAFE_NO_PAD.encode(bytes))?;
    Ok(())
}

pub(super) fn seeing() -> VideoGrant {
    VideoGrant {
        room_list: true,
        ..VideoGrant::default()
    }
}

/// Tells the cluster to do `verb` with a node.
pub(super) async fn tell(client: &Client, verb: &str, node: &str) -> Result<Value, CliError> {
    let grant = VideoGrant {
        room_create: true,
        ..seeing()
    };
    let path = format!("/skein/cluster/nodes/{node}/{verb}");
    client.post(&path, grant).await
}

async fn status(config: &Config, given: &ArgMatches) -> Result<(), CliError> {
    let client = Client::new(config, given)?;
    let answer = client.get("/skein/cluster", seeing()).await?;
    if given.get_flag("json") {
        return print::json(&answer);
    }
    show(&serde_json::from_value(answer)?)
}

fn show(report: &Report) -> Result<(), CliError> {
    let head = [
        "NODE", "HOST", "ADDRESS", "ZONE", "ROLES", "STATE", "VOTE", "LAG", "SILENT", "ROOMS",
        "CLIENTS", "CPU %", "VERSION",
    ];
    let rows: Vec<Vec<String>> = report.nodes.iter().map(row).collect();
    print::table(&head, &rows)?;
    let mut out = io::stdout().lock();
    writeln!(out)?;
    writeln!(out, "{} rooms; {}.", report.rooms, report.verdict)?;
    if report.problems.is_empty() {
        writeln!(out, "Nothing is wrong.")?;
    }
    for problem in &report.problems {
        writeln!(out, "\n! {}", clean(&problem.what))?;
        writeln!(out, "  {}", clean(&problem.advice))?;
    }
    if report.leader.is_some_and(|leader| leader != report.node) {
        let node = report.node;
        writeln!(out, "\nAs n{node} sees it: the leader did not answer.")?;
    }
    Ok(())
}

fn row(node: &NodeReport) -> Vec<String> {
    let roles = match (node.master, node.media) {
        (true, true) => "master media",
        (true, false) => "master",
        (false, true) => "media",
        (false, false) => "",
    };
    let number = |number: Option<u32>| number.map_or_else(unknown, |n| n.to_string());
    let silent = match (node.silent_ms, node.answers) {
        (Some(u64::MAX), _) => "never heard".into(),
        (Some(ms), _) if ms < 1_000 => "no".into(),
        (Some(ms), _) => format!("{} s", ms / 1_000),
        (None, Some(true)) => "no".into(),
        (None, Some(false)) => "yes".into(),
        (None, None) => unknown(),
    };
    vec![
        format!("n{}", node.id),
        clean(&node.host),
        clean(&node.address),
        clean(&node.zone),
        roles.into(),
        clean(&node.state),
        clean(&node.vote),
        node.lag.map_or_else(unknown, |lag| lag.to_string()),
        silent,
        number(node.rooms),
        number(node.clients),
        node.cpu
            .map_or_else(unknown, |cpu| format!("{:.0}", cpu * 100.0)),
        clean(&node.version),
    ]
}

fn unknown() -> String {
    "-".into()
}

fn clean(text: &str) -> String {
    print::plain(&Value::String(text.to_owned()))
}
