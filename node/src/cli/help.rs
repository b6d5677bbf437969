//! Help texts with examples, and `help-verbose`.

use std::io::{self, Write};

use clap::Command;

use super::CliError;
use crate::config::load::known_scalars;

pub(super) const MAIN: &str = "\
Examples:
  skein                                     a node on loopback with development keys
  skein --config livekit.yaml               a node as an existing LiveKit file says
  skein --keys 'key: secret' --node-ip IP   the same without a file
  skein token create --room demo --identity ann
  skein room list --url wss://example.org   asks a server elsewhere

Every scalar key of the configuration is also a flag of its dotted name and a variable
LIVEKIT_<NAME>; `skein help-verbose` lists them. A flag wins over a variable, a variable over the
file. Exit status: 0 done, 1 failed, 2 asked wrongly.";

pub(super) const TOKEN: &str = "\
Examples:
  skein token create --room demo --identity ann            lets ann into the room demo
  skein token create --room demo --identity ann --no-publish --valid-for 10m
  skein token create --list --create                       for a backend that manages rooms

Without a right (--join, --list, …) a token with an identity lets its holder join. It is signed
with LIVEKIT_API_KEY and LIVEKIT_API_SECRET, else with the first key by name.";

pub(super) const ROOM: &str = "\
Examples:
  skein room list
  skein room inspect demo --json
  skein room explain demo
  skein room link demo --url https://example.org
  skein room delete demo

The server is --url or LIVEKIT_URL, else the one the configuration describes; the key is
LIVEKIT_API_KEY and LIVEKIT_API_SECRET, else the first key by name.";

pub(super) const CLUSTER: &str = "\
Examples:
  skein cluster token                        once; the same for all nodes, as cluster.token
  skein cluster status --config skein.yaml   asks the node of this configuration
  skein cluster status --url https://example.org --json

Who has the token can become a node and is trusted with everything: keep it like a private key.";

pub(super) const NODE: &str = "\
Examples:
  skein node status
  skein node drain n281474976710         its rooms move elsewhere; by id, address or host
  skein node drain media-3 --wait --deadline 600
  skein node drains                      how far they are, and what holds them up
  skein node undrain 10.0.0.5:7890
  skein node remove n281474976710        one that is gone, or drained and stopped
  skein node status --json --url https://example.org";

pub(super) const LIST_NODES: &str = "\
Examples:
  skein list-nodes --config livekit.yaml";

pub(super) const KEYS: &str = "\
Examples:
  skein generate-keys
  skein generate-keys --json";

pub(super) const DOCTOR: &str = "\
Examples:
  skein doctor                                    the server of the configuration, from here
  skein doctor wss://example.org --api-key KEY --api-secret SECRET
  skein doctor wss://example.org --token TOKEN    with a participant's token
  skein doctor --json | jq .verdict

It signs in to a room of its own and reaches the media ports in every way a participant could:
UDP, TCP, and TURN over UDP and TLS. It takes some seconds. Exit status: 0 nothing failed.";

pub(super) const PORTS: &str = "\
Examples:
  skein ports --config livekit.yaml
  skein ports --json";

pub(super) fn command() -> Command {
    Command::new("help-verbose").about("List every flag and variable of the configuration")
}

pub(super) fn verbose() -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", super::command().render_help())?;
    writeln!(out, "\nKeys of the configuration, as flags and variables:")?;
    for key in known_scalars() {
        writeln!(out, "  --{:<60} {}", key.path, key.environment_name())?;
    }
    Ok(())
}
