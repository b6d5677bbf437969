//! Compiles the .proto files inside the livekit-protocol crate into one descriptor set in OUT_DIR:
//! JSON under proto names and Twirp's routes are read from it. Nothing generated is committed.

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use prost::Message;

/// The services of the server API and the agent protocol; imports follow.
const FILES: [&str; 9] = [
    "livekit_room.proto",
    "livekit_agent_dispatch.proto",
    "livekit_egress.proto",
    "livekit_ingress.proto",
    "livekit_sip.proto",
    "livekit_agent.proto",
    "livekit_rtc.proto",
    "livekit_models.proto",
    "livekit_webhook.proto",
];
const CRATE: &str = "livekit-protocol";
/// Where the .proto files are, for builds without cargo's own registry layout.
const OVERRIDE: &str = "LIVEKIT_PROTOBUFS";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={OVERRIDE}");
    let folder = protobufs()?;
    println!("cargo::rerun-if-changed={}", folder.display());
    let set = protox::compile(FILES, [&folder])?;
    let target = Path::new(&variable("OUT_DIR")?).join("livekit.bin");
    fs::write(target, set.encode_to_vec())?;
    Ok(())
}

fn protobufs() -> Result<PathBuf, Box<dyn Error>> {
    if let Some(folder) = env::var_os(OVERRIDE) {
        return Ok(folder.into());
    }
    let source = match from_cargo() {
        Ok(source) => source,
        Err(error) => from_registry().ok_or_else(|| {
            format!("{CRATE} was not found ({error}); set {OVERRIDE} to its protocol/protobufs")
        })?,
    };
    Ok(source.join("protocol/protobufs"))
}

/// The crate's folder as cargo knows it: right for registries, vendored and patched sources alike.
fn from_cargo() -> Result<PathBuf, Box<dyn Error>> {
    let target = variable("TARGET")?;
    let manifest = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("Cargo.toml");
    let output = Command::new(variable("CARGO")?)
        .args([
            "metadata",
            "--offline",
            "--locked",
            "--format-version=1",
            "--filter-platform",
        ])
        .arg(target)
        .arg("--manifest-path")
        .arg(manifest)
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"]
        .as_array()
        .ok_or("cargo metadata lists no packages")?;
    let found = packages.iter().find(|package| package["name"] == CRATE);
    let manifest = found.and_then(|package| package["manifest_path"].as_str());
    let folder = manifest.and_then(|path| Path::new(path).parent());
    Ok(folder.ok_or("cargo metadata does not name it")?.to_owned())
}

/// `cargo metadata` wants more crates on disk than a build does; then the registry's own layout
/// has to answer. The lock file says which version is meant.
fn from_registry() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo")))?;
    let folder = format!("{CRATE}-{}", locked_version()?);
    let sources = fs::read_dir(home.join("registry/src")).ok()?;
    let mut candidates = sources.flatten().map(|source| source.path().join(&folder));
    candidates.find(|candidate| candidate.is_dir())
}

fn locked_version() -> Option<String> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR")?);
    let mut locks = manifest.ancestors().map(|folder| folder.join("Cargo.lock"));
    let lock = fs::read_to_string(locks.find(|lock| lock.is_file())?).ok()?;
    let (_, package) = lock.split_once(&format!("name = \"{CRATE}\"\nversion = \""))?;
    Some(package.split_once('"')?.0.to_owned())
}

fn variable(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("{name} is not set"))
}
