//! Commands that ask a running server: `room list|inspect|delete`, `node status`, `list-nodes`; and
//! `room link`, which only has to know where the server is.

use std::io::{self, Write};

use clap::{Arg, ArgAction, ArgMatches, Command};
use protocol::grants::VideoGrant;
use serde_json::{Value, json};

use super::CliError;
use super::client::Client;
use super::tokens::text;
use crate::auth::unix_seconds;
use crate::config::Config;
use crate::page;
use crate::run::compose;

pub(super) fn room_command() -> Command {
    let name = || Arg::new("room").required(true).help("name of the room");
    asking("room")
        .about("Rooms of a running server")
        .subcommand_required(true)
        .subcommand(Command::new("list").about("List the rooms"))
        .subcommand(
            Command::new("inspect")
                .about("Everything about one room")
                .arg(name()),
        )
        .subcommand(Command::new("delete").about("End a room").arg(name()))
        .subcommand(
            Command::new("link")
                .about("Print a link that lets anybody who has it into a room")
                .arg(name()),
        )
}

pub(super) fn node_command() -> Command {
    asking("node")
        .about("A running server")
        .subcommand_required(true)
        .subcommand(Command::new("status").about("State and load of the node"))
}

pub(super) fn list_nodes_command() -> Command {
    asking("list-nodes").about("List the nodes and their state")
}

fn asking(name: &'static str) -> Command {
    let url = Arg::new("url").long("url").global(true).env("LIVEKIT_URL");
    let url = url.help("server to ask; default: where the configuration says it listens");
    let json = Arg::new("json")
        .long("json")
        .global(true)
        .action(ArgAction::SetTrue);
    Command::new(name).arg(url).arg(json.help("print JSON"))
}

pub(super) fn run(config: &Config, name: &str, given: &ArgMatches) -> Result<(), CliError> {
    actix_rt::System::new().block_on(ask(config, name, given))
}

async fn ask(config: &Config, name: &str, given: &ArgMatches) -> Result<(), CliError> {
    let (what, inner) = given.subcommand().unwrap_or(("", given));
    let client = Client::new(config, inner.get_one::<String>("url"));
    let as_json = inner.get_flag("json");
    let answer = match (name, what) {
        ("room", "list") => {
            let answer = client
                .room_service("ListRooms", listing(), &json!({}))
                .await?;
            if !as_json {
                return print_rooms(&answer);
            }
            answer
        }
        ("room", "inspect") => {
            let room = text(inner, "room");
            let path = format!("/skein/rooms/{}", encoded(&room));
            client.get(&path, administering(room)).await?
        }
        ("room", "link") => {
            let keys = compose::keys(config);
            let room = text(inner, "room");
            let link = page::link(&keys, client.url(), &room, unix_seconds())?;
            if !as_json {
                return Ok(writeln!(io::stdout(), "{link}")?);
            }
            json!({ "room": room, "link": link })
        }
        ("room", "delete") => {
            let room = text(inner, "room");
            let body = json!({ "room": room });
            let grant = VideoGrant {
                room_create: true,
                ..administering(room)
            };
            client.room_service("DeleteRoom", grant, &body).await?
        }
        _ => {
            let answer = client.get("/skein/node", listing()).await?;
            if !as_json {
                return print_node(&answer);
            }
            answer
        }
    };
    writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&answer)?)?;
    Ok(())
}

fn listing() -> VideoGrant {
    VideoGrant {
        room_list: true,
        ..VideoGrant::default()
    }
}

fn administering(room: String) -> VideoGrant {
    VideoGrant {
        room_admin: true,
        room,
        ..VideoGrant::default()
    }
}

/// Percent-encodes what may not stand in a path segment.
fn encoded(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn print_rooms(answer: &Value) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{:<32} {:<18} {:>12} {:>10}",
        "NAME", "SID", "PARTICIPANTS", "PUBLISHERS"
    )?;
    for room in answer["rooms"].as_array().into_iter().flatten() {
        let field = |name: &str| room[name].as_str().unwrap_or_default().to_owned();
        let number = |snake: &str, camel: &str| {
            room[snake]
                .as_u64()
                .or_else(|| room[camel].as_u64())
                .unwrap_or(0)
        };
        let participants = number("num_participants", "numParticipants");
        let publishers = number("num_publishers", "numPublishers");
        let (name, sid) = (field("name"), field("sid"));
        writeln!(
            out,
            "{name:<32} {sid:<18} {participants:>12} {publishers:>10}"
        )?;
    }
    Ok(())
}

fn print_node(answer: &Value) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    for (key, value) in answer.as_object().into_iter().flatten() {
        match value {
            Value::Object(inner) => {
                for (name, value) in inner {
                    writeln!(out, "{:<20} {value}", format!("{key}.{name}"))?;
                }
            }
            Value::String(text) => writeln!(out, "{key:<20} {text}")?,
            value => writeln!(out, "{key:<20} {value}")?,
        }
    }
    Ok(())
}
