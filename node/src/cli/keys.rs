//! `skein generate-keys`.

use std::io::{self, Write};

use clap::{ArgMatches, Command};
use protocol::ids;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use serde_json::json;

use super::{CliError, help, print, switch};
use crate::run::{RunError, compose};

/// Characters of a secret: 62^43 are 256 bits.
const SECRET_CHARS: usize = 43;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

pub(super) fn command() -> Command {
    Command::new("generate-keys")
        .about("Make an API key and its secret")
        .after_help(help::KEYS)
        .arg(switch("json", "print JSON"))
}

pub(super) fn generate(given: &ArgMatches) -> Result<(), CliError> {
    let seed = compose::entropy().map_err(|_| RunError::NoEntropy)?;
    let mut rng = ChaCha12Rng::from_seed(seed);
    let key = ids::random(&mut rng, "API");
    let secret: String = (0..SECRET_CHARS)
        .map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]))
        .collect();
    if given.get_flag("json") {
        return print::json(&json!({ "api_key": key, "api_secret": secret }));
    }
    writeln!(io::stdout(), "API Key:  {key}\nAPI Secret:  {secret}")?;
    Ok(())
}
