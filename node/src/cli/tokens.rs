//! `skein token create` and upstream's `create-join-token`: access tokens, signed here.

use std::io::{self, Write};

use clap::{Arg, ArgMatches, Command};
use protocol::grants::{Claims, VideoGrant};
use protocol::token::{self, Keys};
use serde_json::json;

use super::{CliError, credentials, help, print, switch};
use crate::auth::unix_seconds;
use crate::config::Config;
use crate::config::values::go_duration;

/// `create-join-token` is for development and valid for 30 days, as upstream's.
const JOIN_TOKEN_SECONDS: i64 = 30 * 24 * 3600;
/// A token for one request of ours.
const REQUEST_SECONDS: i64 = 60;
const KINDS: [&str; 5] = ["standard", "agent", "ingress", "egress", "sip"];

pub(super) fn join_command() -> Command {
    let required = |name: &'static str, value: &'static str, help: &'static str| {
        let arg = Arg::new(name).long(name).value_name(value);
        arg.help(help).required(true)
    };
    let command = Command::new("create-join-token")
        .about("Make a join token as livekit-server does (see also `skein token create`)")
        .arg(required("room", "ROOM", "name of the room to join"))
        .arg(required("identity", "IDENTITY", "who the holder is"))
        .arg(switch(
            "recorder",
            "a hidden participant that can only subscribe",
        ));
    credentials::with_key_flags(command)
}

pub(super) fn token_command() -> Command {
    let value = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let create = Command::new("create")
        .about("Make an access token")
        .after_help(help::TOKEN)
        .arg(value("room", "ROOM", "room the rights are for"))
        .arg(value("identity", "IDENTITY", "who the holder is"))
        .arg(value("name", "NAME", "display name"))
        .arg(value("metadata", "TEXT", "metadata of the participant"))
        .arg(value(
            "valid-for",
            "DURATION",
            "lifetime, as 10m or 24h; default 6h",
        ))
        .arg(value("kind", "KIND", "what the holder is").value_parser(KINDS))
        .arg(switch("join", "may join the room"))
        .arg(switch("create", "may create rooms"))
        .arg(switch("list", "may list rooms"))
        .arg(switch("admin", "may moderate the room"))
        .arg(switch("record", "may record"))
        .arg(switch("agent", "may work as an agent"))
        .arg(switch("hidden", "is not seen by others"))
        .arg(switch("no-publish", "may not publish"))
        .arg(switch("no-subscribe", "may not subscribe"))
        .arg(switch("json", "print token and claims as JSON"));
    let command = Command::new("token")
        .about("Access tokens")
        .after_help(help::TOKEN)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(create);
    credentials::with_key_flags(command)
}

pub(super) fn join(config: &Config, given: &ArgMatches) -> Result<(), CliError> {
    let keys = credentials::keys(config, given)?;
    let recorder = given.get_flag("recorder");
    let video = VideoGrant {
        room_join: true,
        room: text(given, "room"),
        hidden: recorder,
        recorder,
        can_publish: recorder.then_some(false),
        can_publish_data: recorder.then_some(false),
        ..VideoGrant::default()
    };
    let claims = claims(&keys, text(given, "identity"), video, JOIN_TOKEN_SECONDS);
    writeln!(io::stdout(), "Token:  {}", token::sign(&keys, &claims)?)?;
    Ok(())
}

pub(super) fn run(config: &Config, given: &ArgMatches) -> Result<(), CliError> {
    let Some(("create", given)) = given.subcommand() else {
        return Err(CliError::Usage("token: create".into()));
    };
    let keys = credentials::keys(config, given)?;
    let seconds = match given.get_one::<String>("valid-for") {
        None => token::DEFAULT_SECONDS,
        Some(text) => lifetime(text)?,
    };
    let identity = text(given, "identity");
    let video = grant(given, &identity)?;
    let claims = Claims {
        name: text(given, "name"),
        metadata: text(given, "metadata"),
        kind: text(given, "kind"),
        ..claims(&keys, identity, video, seconds)
    };
    let signed = token::sign(&keys, &claims)?;
    if given.get_flag("json") {
        return print::json(&json!({ "token": signed, "claims": claims }));
    }
    writeln!(io::stdout(), "{signed}")?;
    Ok(())
}

fn lifetime(text: &str) -> Result<i64, CliError> {
    go_duration::parse(text)
        .and_then(|duration| i64::try_from(duration.as_secs()).ok())
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| {
            CliError::Usage(format!(
                "--valid-for `{text}` is not a duration such as 10m, 24h or 1h30m"
            ))
        })
}

fn grant(given: &ArgMatches, identity: &str) -> Result<VideoGrant, CliError> {
    let off = |name: &str| given.get_flag(name).then_some(false);
    let mut video = VideoGrant {
        room_join: given.get_flag("join"),
        room_create: given.get_flag("create"),
        room_list: given.get_flag("list"),
        room_admin: given.get_flag("admin"),
        room_record: given.get_flag("record"),
        agent: given.get_flag("agent"),
        hidden: given.get_flag("hidden"),
        room: text(given, "room"),
        can_publish: off("no-publish"),
        can_subscribe: off("no-subscribe"),
        ..VideoGrant::default()
    };
    let rights = ["join", "create", "list", "admin", "record", "agent"];
    if !rights.iter().any(|right| given.get_flag(right)) {
        if identity.is_empty() {
            return Err(CliError::Usage(
                "this token would allow nothing: add --room ROOM --identity IDENTITY to let \
                 somebody join, or a right such as --list, --create or --admin"
                    .into(),
            ));
        }
        video.room_join = true;
    }
    if video.room_join && identity.is_empty() {
        return Err(CliError::Usage("--join needs --identity IDENTITY".into()));
    }
    if (video.room_join || video.room_admin) && video.room.is_empty() {
        let right = if video.room_join { "join" } else { "admin" };
        return Err(CliError::Usage(format!("--{right} needs --room ROOM")));
    }
    Ok(video)
}

/// A token for one request of ours to the server.
pub(super) fn for_request(keys: &Keys, video: VideoGrant) -> Result<String, CliError> {
    let claims = claims(keys, "skein-cli".into(), video, REQUEST_SECONDS);
    Ok(token::sign(keys, &claims)?)
}

fn claims(keys: &Keys, identity: String, video: VideoGrant, seconds: i64) -> Claims {
    let now = unix_seconds();
    Claims {
        issuer: keys.first().unwrap_or_default().to_owned(),
        identity,
        nbf: now,
        exp: now.saturating_add(seconds),
        video: Some(video),
        ..Claims::default()
    }
}

fn text(given: &ArgMatches, name: &str) -> String {
    given.get_one::<String>(name).cloned().unwrap_or_default()
}
