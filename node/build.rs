//! Finds the built room page for embedding. Without one (a bare `cargo build`) a page that says how
//! to build it takes its place; `./run` and `./test` build it first.

use std::path::Path;
use std::{env, fs, io};

const MISSING: &str = "<!doctype html><title>Skein</title><p>This server was built without its \
room page. Build it with <code>npm ci &amp;&amp; npm run build</code> in <code>node/web</code>, or \
start the server with <code>./run</code>.";

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=web/dist");
    let manifest = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let built = Path::new(&manifest).join("web/dist");
    if built.join("index.html").exists() {
        println!("cargo:rustc-env=SKEIN_ROOM_PAGE={}", built.display());
        return Ok(());
    }
    let missing = Path::new(&env::var("OUT_DIR").unwrap_or_default()).join("page");
    fs::create_dir_all(&missing)?;
    fs::write(missing.join("index.html"), MISSING)?;
    println!("cargo:rustc-env=SKEIN_ROOM_PAGE={}", missing.display());
    Ok(())
}
