//! Commands that ask a running server: `room list|inspect|delete`, `node status`, `list-nodes`; and
//! `room link`, which only has to know where the server is.

use std::io::{self, Write};

use clap::{Arg, ArgMatches, Command};
use protocol::grants::VideoGrant;
use serde_json::{Value, json};

use super::client::Client;
use super::{CliError, cluster, credentials, drains, help, print, switch};
use crate::auth::unix_seconds;
use crate::config::Config;
use crate::page;

pub(super) fn room_command() -> Command {
    let name = || {
        Arg::new("room")
            .required(true)
            .value_name("ROOM")
            .help("name of the room")
    };
    asking("room")
        .about("Rooms of a running server")
        .after_help(help::ROOM)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("list").about("List the rooms"))
        .subcommand(
            Command::new("inspect")
                .about("Everything about one room")
                .arg(name()),
        )
        .subcommand(
            Command::new("explain")
                .about("Where a room of a cluster is, and why there")
                .arg(name()),
        )
        .subcommand(
            Command::new("delete")
                .about("End a room and disconnect everybody in it")
                .arg(name()),
        )
        .subcommand(
            Command::new("link")
                .about("Print a link that lets anybody who has it into a room")
                .arg(name()),
        )
}

pub(super) fn node_command() -> Command {
    asking("node")
        .about("A running server")
        .after_help(help::NODE)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("status").about("State and load of the node"))
        .subcommands(cluster::node_verbs())
}

pub(super) fn list_nodes_command() -> Command {
    asking("list-nodes")
        .about("List the nodes and their state")
        .after_help(help::LIST_NODES)
}

fn asking(name: &'static str) -> Command {
    let command = credentials::with_server_flags(Command::new(name));
    command.arg(switch("json", "print JSON").global(true))
}

pub(super) fn run(config: &Config, name: &str, given: &ArgMatches) -> Result<(), CliError> {
    actix_rt::System::new().block_on(ask(config, name, given))
}

async fn ask(config: &Config, name: &str, given: &ArgMatches) -> Result<(), CliError> {
    let (what, inner) = given.subcommand().unwrap_or(("", given));
    let client = Client::new(config, inner)?;
    let show: fn(&Value) -> Result<(), CliError> = match inner.get_flag("json") {
        true => print::json,
        false => match (name, what) {
            ("room", "list") => print_rooms,
            ("room", "inspect") => print_room,
            ("room", "explain") => print_place,
            ("room", "delete") => print_deleted,
            ("room", _) => print_link,
            ("list-nodes", _) => print_nodes,
            ("node", "drains") => drains::show,
            _ => print::fields,
        },
    };
    let room = inner.try_get_one::<String>("room").ok().flatten();
    let room = room.cloned().unwrap_or_default();
    let answer = match (name, what) {
        ("room", "list") => {
            let nothing = json!({});
            client
                .room_service("ListRooms", listing(), &nothing)
                .await?
        }
        ("room", "inspect") => {
            let path = format!("/skein/rooms/{}", encoded(&room));
            client.get(&path, administering(room)).await?
        }
        ("room", "explain") => {
            let path = format!("/skein/rooms/{}/place", encoded(&room));
            client.get(&path, administering(room)).await?
        }
        ("room", "delete") => {
            let body = json!({ "room": room });
            let grant = VideoGrant {
                room_create: true,
                ..administering(room.clone())
            };
            client.room_service("DeleteRoom", grant, &body).await?;
            json!({ "deleted": room })
        }
        ("room", _) => {
            let link = page::link(client.keys(), client.url(), &room, unix_seconds())?;
            json!({ "room": room, "link": link })
        }
        ("node", "drains") => drains::all(&client).await?,
        ("node", "drain") => drains::begin(&client, inner).await?,
        ("node", verb @ ("undrain" | "remove")) => {
            let node = inner.get_one::<String>("node").cloned();
            cluster::tell(&client, verb, &encoded(&node.unwrap_or_default())).await?
        }
        ("list-nodes", _) => json!([client.get("/skein/node", listing()).await?]),
        _ => client.get("/skein/node", listing()).await?,
    };
    show(&answer)
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
pub(super) fn encoded(segment: &str) -> String {
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

fn rows(list: &Value, columns: &[&str]) -> Vec<Vec<String>> {
    let row = |item: &Value| columns.iter().map(|c| print::plain(&item[*c])).collect();
    list.as_array().into_iter().flatten().map(row).collect()
}

fn print_rooms(answer: &Value) -> Result<(), CliError> {
    let columns = ["name", "sid", "num_participants", "num_publishers"];
    let rows = rows(&answer["rooms"], &columns);
    if rows.is_empty() {
        writeln!(io::stdout(), "no rooms")?;
        return Ok(());
    }
    print::table(&["NAME", "SID", "PARTICIPANTS", "PUBLISHERS"], &rows)
}

fn print_room(answer: &Value) -> Result<(), CliError> {
    let mut room = answer.clone();
    let people = room
        .as_object_mut()
        .and_then(|room| room.remove("participants"));
    let moves = room.as_object_mut().and_then(|room| room.remove("moves"));
    print::fields(&room)?;
    let moves = rows(
        &moves.unwrap_or_default(),
        &["from", "to", "cause", "took_ms", "at"],
    );
    if !moves.is_empty() {
        writeln!(io::stdout())?;
        print::table(
            &["MOVED FROM", "TO", "CAUSE", "TOOK MS", "AT UNIX MS"],
            &moves,
        )?;
    }
    let people = people.unwrap_or_default();
    let columns = ["identity", "sid", "state", "sdk"];
    let mut rows = rows(&people, &columns);
    for (row, person) in rows.iter_mut().zip(people.as_array().into_iter().flatten()) {
        row.push(person["tracks"].as_array().map_or(0, Vec::len).to_string());
    }
    writeln!(io::stdout())?;
    print::table(&["IDENTITY", "SID", "STATE", "SDK", "TRACKS"], &rows)
}

fn print_place(answer: &Value) -> Result<(), CliError> {
    let mut place = answer.clone();
    let why = place.as_object_mut().and_then(|place| place.remove("why"));
    print::fields(&place)?;
    let told = why.as_ref().and_then(Value::as_str);
    let told =
        told.unwrap_or("nobody remembers why: it moved when a node died, or a master restarted");
    writeln!(io::stdout(), "\n{}", told.trim_end())?;
    Ok(())
}

fn print_deleted(answer: &Value) -> Result<(), CliError> {
    writeln!(io::stdout(), "deleted {}", print::plain(&answer["deleted"]))?;
    Ok(())
}

fn print_link(answer: &Value) -> Result<(), CliError> {
    writeln!(io::stdout(), "{}", text_of(answer, "link"))?;
    Ok(())
}

fn text_of<'a>(answer: &'a Value, key: &str) -> &'a str {
    answer[key].as_str().unwrap_or_default()
}

fn print_nodes(answer: &Value) -> Result<(), CliError> {
    let columns = [
        "node_id",
        "state",
        "region",
        "rooms",
        "participants",
        "publishers",
    ];
    let mut rows = rows(answer, &columns);
    for (row, node) in rows.iter_mut().zip(answer.as_array().into_iter().flatten()) {
        let load = node["load"]["cpu_load"].as_f64().unwrap_or(0.0);
        row.push(format!("{:.0}", load * 100.0));
        row.push(print::plain(&node["uptime_seconds"]));
    }
    let head = [
        "ID",
        "STATE",
        "REGION",
        "ROOMS",
        "PARTICIPANTS",
        "PUBLISHERS",
        "CPU %",
        "UPTIME S",
    ];
    print::table(&head, &rows)
}
