//! `skein node drain NODE`, with a deadline and waiting for the end, and `skein node drains`: how
//! far each one is and what holds it up.

use std::io::{self, Write};
use std::time::Duration;

use clap::{Arg, ArgMatches, Command, value_parser};
use protocol::grants::VideoGrant;
use serde_json::{Value, json};

use super::client::Client;
use super::remote::encoded;
use super::{CliError, cluster, print, switch};

/// Between two questions while waiting.
const ASK_EVERY: Duration = Duration::from_secs(1);

pub(super) fn with_flags(command: Command) -> Command {
    let deadline = Arg::new("deadline")
        .long("deadline")
        .value_name("SECONDS")
        .value_parser(value_parser!(u64))
        .help("when what is left is cut short; without it the node waits for its jobs");
    let wait = switch("wait", "tell how far it is until it is over");
    command.arg(deadline).arg(wait)
}

pub(super) async fn begin(client: &Client, given: &ArgMatches) -> Result<Value, CliError> {
    let node = given.get_one::<String>("node").cloned();
    let path = format!(
        "/operator/nodes/{}/drain",
        encoded(&node.unwrap_or_default())
    );
    let terms = match given.get_one::<u64>("deadline") {
        Some(seconds) => json!({ "deadline_seconds": seconds }),
        None => json!({}),
    };
    let grant = VideoGrant {
        room_create: true,
        ..cluster::seeing()
    };
    let begun = client.post_json(&path, grant, &terms).await?;
    if !given.get_flag("wait") {
        return Ok(begun);
    }
    let mut last = String::new();
    loop {
        tokio::time::sleep(ASK_EVERY).await;
        let progress = client.get(&path, cluster::seeing()).await;
        let progress = match progress {
            Ok(progress) => progress,
            // Not seen by the leader yet, or a leader is being elected.
            Err(CliError::Refused {
                status: 404 | 503, ..
            }) => continue,
            Err(error) => return Err(error),
        };
        let line = line(&progress);
        if line != last && !given.get_flag("json") {
            writeln!(io::stdout(), "{line}")?;
            last = line;
        }
        if progress["phase"] == "done" {
            return Ok(progress);
        }
    }
}

fn line(progress: &Value) -> String {
    let stuck: Vec<String> = match progress["stuck"].as_array() {
        Some(reasons) => reasons.iter().map(print::plain).collect(),
        None => Vec::new(),
    };
    let stuck = match stuck.is_empty() {
        true => String::new(),
        false => format!("; {}", stuck.join("; ")),
    };
    format!(
        "{}: {} of {} rooms and {} jobs left{stuck}",
        print::plain(&progress["phase"]),
        progress["rooms_left"],
        progress["rooms_total"],
        progress["jobs_left"],
    )
}

pub(super) async fn all(client: &Client) -> Result<Value, CliError> {
    client.get("/operator/drains", cluster::seeing()).await
}

pub(super) fn show(answer: &Value) -> Result<(), CliError> {
    let none = Vec::new();
    let drains = answer["drains"].as_array().unwrap_or(&none);
    if drains.is_empty() {
        writeln!(io::stdout(), "No node drains.")?;
    }
    for drain in drains {
        writeln!(
            io::stdout(),
            "n{} {}",
            print::plain(&drain["node"]),
            line(drain)
        )?;
    }
    Ok(())
}
