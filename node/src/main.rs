//! `skein`: parses the command line and runs what it says; a failure is told on standard error
//! with what to do about it.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match skein_node::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if standard error is closed.
            let _ = writeln!(std::io::stderr(), "skein: {error}");
            error.exit_code()
        }
    }
}
