//! `skein token create` and upstream's `create-join-token`: signs with the first configured key.

use std::io::{self, Write};

use clap::{Arg, ArgAction, ArgMatches, Command};
use protocol::grants::{Claims, VideoGrant};
use protocol::token;
use serde_json::json;

use super::CliError;
use crate::auth::unix_seconds;
use crate::config::Config;
use crate::config::values::go_duration;
use crate::run::compose;

pub(super) fn join_command() -> Command {
    Command::new("create-join-token")
        .about("Make a token that lets an identity into a room")
        .arg(Arg::new("room").long("room").required(true))
        .arg(Arg::new("identity").long("identity").required(true))
        .arg(
            Arg::new("recorder")
                .long("recorder")
                .action(ArgAction::SetTrue)
                .hide(true),
        )
}

pub(super) fn token_command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .help(help)
            .action(ArgAction::SetTrue)
    };
    let value = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help);
    let create = Command::new("create")
        .about("Make an access token")
        .arg(value("room", "room the rights are for"))
        .arg(value("identity", "who the holder is"))
        .arg(value("name", "display name"))
        .arg(value("metadata", "metadata of the participant"))
        .arg(value("valid-for", "lifetime, as 10m or 24h; default 6h"))
        .arg(value("kind", "standard, agent, ingress, egress, sip"))
        .arg(flag("join", "may join the room"))
        .arg(flag("create", "may create rooms"))
        .arg(flag("list", "may list rooms"))
        .arg(flag("admin", "may moderate the room"))
        .arg(flag("record", "may record"))
        .arg(flag("agent", "may work as an agent"))
        .arg(flag("hidden", "is not seen by others"))
        .arg(flag("no-publish", "may not publish"))
        .arg(flag("no-subscribe", "may not subscribe"))
        .arg(flag("json", "print token and claims as JSON"));
    Command::new("token")
        .about("Access tokens")
        .subcommand_required(true)
        .subcommand(create)
}

pub(super) fn join(config: &Config, given: &ArgMatches) -> Result<(), CliError> {
    let video = VideoGrant {
        room_join: true,
        room: text(given, "room"),
        ..VideoGrant::default()
    };
    let claims = claims(
        config,
        text(given, "identity"),
        video,
        token::DEFAULT_SECONDS,
    );
    let signed = sign(config, &claims)?;
    writeln!(io::stdout(), "Token:  {signed}")?;
    Ok(())
}

pub(super) fn run(config: &Config, given: &ArgMatches) -> Result<(), CliError> {
    let Some(("create", given)) = given.subcommand() else {
        return Err(CliError::Usage("token: create".into()));
    };
    let seconds = match given.get_one::<String>("valid-for") {
        None => token::DEFAULT_SECONDS,
        Some(text) => go_duration::parse(text)
            .and_then(|duration| i64::try_from(duration.as_secs()).ok())
            .ok_or_else(|| CliError::Usage(format!("--valid-for `{text}` is not a duration")))?,
    };
    let off = |name: &str| given.get_flag(name).then_some(false);
    let video = VideoGrant {
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
    if video.room_join && text(given, "identity").is_empty() {
        return Err(CliError::Usage("--join needs --identity".into()));
    }
    let claims = Claims {
        name: text(given, "name"),
        metadata: text(given, "metadata"),
        kind: text(given, "kind"),
        ..claims(config, text(given, "identity"), video, seconds)
    };
    let signed = sign(config, &claims)?;
    if given.get_flag("json") {
        let answer = json!({ "token": signed, "claims": claims });
        writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&answer)?)?;
    } else {
        writeln!(io::stdout(), "{signed}")?;
    }
    Ok(())
}

/// A token for one request of ours to the server.
pub(super) fn for_request(config: &Config, video: VideoGrant) -> Result<String, CliError> {
    const SECONDS: i64 = 60;
    sign(config, &claims(config, "skein-cli".into(), video, SECONDS))
}

fn claims(config: &Config, identity: String, video: VideoGrant, seconds: i64) -> Claims {
    let now = unix_seconds();
    Claims {
        issuer: compose::keys(config).first().unwrap_or_default().to_owned(),
        identity,
        nbf: now,
        exp: now + seconds,
        video: Some(video),
        ..Claims::default()
    }
}

fn sign(config: &Config, claims: &Claims) -> Result<String, CliError> {
    token::sign(&compose::keys(config), claims)
        .map_err(|error| CliError::Usage(format!("signing the token: {error}")))
}

pub(super) fn text(given: &ArgMatches, name: &str) -> String {
    given.get_one::<String>(name).cloned().unwrap_or_default()
}
