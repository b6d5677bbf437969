//! `skein`: parses the command line and runs what it says; a failure is one line on standard error.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match skein_node::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if standard error is closed.
            let _ = writeln!(std::io::stderr(), "skein: {error}");
            ExitCode::FAILURE
        }
    }
}
