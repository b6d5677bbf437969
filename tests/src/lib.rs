//! Shared by the checks of this crate: where the repository is and which Rust sources it has. The
//! checks talk to Skein over the wire only; nothing here may link `node` or `media`.

use std::path::{Path, PathBuf};

/// The top of the repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Every tracked or new Rust source below the crates, with paths relative to the root.
pub fn rust_sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in [
        "consensus",
        "media",
        "node",
        "operator",
        "simulation",
        "tests",
    ] {
        collect(&root().join(folder), &mut found);
    }
    found.sort();
    found
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "node_modules" && name != "target" && name != "dist" {
                collect(&path, found);
            }
        } else if path.extension().is_some_and(|e| e == "rs")
            && let Ok(relative) = path.strip_prefix(root())
        {
            found.push(relative.to_path_buf());
        }
    }
}
