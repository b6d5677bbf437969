//! Finds the built room page for embedding. Without one (a bare `cargo build`) a page that says how
//! to build it takes its place; `./run` and `./test` build it first.

use std::path::Path;
use std::{env, fs, io};

const MISSING: &str = "<!doctype html><title>Skein</title><p>This server was built without its \
room page. Build it with <code>npm ci &amp;&amp; npm run build</code> in <code>node/web</code>, or \
start the server with <code>./run</code>.";

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=web/dist");
    let built = Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("web/dist");
    // A copy: clones that share a target folder share what this prints, so it may name no clone.
    let page = Path::new(&env::var("OUT_DIR").unwrap_or_default()).join("page");
    if page.exists() {
        fs::remove_dir_all(&page)?;
    }
    if built.join("index.html").exists() {
        copy(&built, &page)?;
    } else {
        fs::create_dir_all(&page)?;
        fs::write(page.join("index.html"), MISSING)?;
    }
    println!("cargo:rustc-env=SKEIN_ROOM_PAGE={}", page.display());
    Ok(())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
