//! Why a command failed, as one line for a person that says what to do, and the exit status that
//! goes with it. `main` prints it.

use std::io;
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::run::RunError;

/// As clap exits on a malformed command line.
const USAGE: u8 = 2;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(
        "no server answers at {url}: {cause}\n\
         start one, or name it with --url or LIVEKIT_URL"
    )]
    Unreachable { url: String, cause: String },
    #[error(
        "the server at {url} does not accept the API key `{key}`: {answer}\n\
         use the --config that server runs with, or LIVEKIT_API_KEY and LIVEKIT_API_SECRET"
    )]
    WrongKey {
        url: String,
        key: String,
        answer: String,
    },
    #[error("there is no room `{0}`; `skein room list` shows those there are")]
    NoSuchRoom(String),
    #[error("the server at {url} answered {status}: {answer}")]
    Refused {
        url: String,
        status: u16,
        answer: String,
    },
    #[error("the server at {url} answered something that is not JSON; is it a Skein node?")]
    NotJson { url: String },
    #[error(
        "no API key to sign with: give --config FILE, --keys 'key: secret', or LIVEKIT_API_KEY \
         and LIVEKIT_API_SECRET"
    )]
    NoKeys,
    #[error("signing the token: {0}")]
    Sign(#[from] protocol::token::SignError),
    #[error("{0} of {1} checks failed")]
    ChecksFailed(usize, usize),
    #[error("{0}")]
    Usage(String),
    #[error("the HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

impl CliError {
    /// 2 = asked wrongly, 1 = asked rightly and failed.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            CliError::Usage(_) => ExitCode::from(USAGE),
            _ => ExitCode::FAILURE,
        }
    }

    /// The reader of our output went away (`skein help-verbose | head`): nothing to complain of.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, CliError::Io(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
