# Sourced by ./run and ./test: installing what is missing, on Debian and Ubuntu, and saying so.
# Everything is idempotent; nothing outside the cache folder and the system's packages is touched.

cache="${SKEIN_CACHE:-$HOME/.cache/skein}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$cache/target}"
mkdir -p "$cache" "$CARGO_TARGET_DIR"

say() { printf '\033[1m==> %s\033[0m\n' "$*"; }
fail() { printf '\033[1;31m==> %s\033[0m\n' "$*" >&2; exit 1; }

# Clones share the target folder. Cargo names files relative to a clone and goes by their times, so it may take what
# one clone built for the other's: what the last clone built of our own is forgotten, dependencies stay.
own_target() {
  local here mark="$CARGO_TARGET_DIR/.clone"
  here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
  [ "$(cat "$mark" 2>/dev/null)" = "$here" ] && return 0
  rm -rf "$CARGO_TARGET_DIR"/*/.fingerprint/skein-*
  printf '%s\n' "$here" >"$mark"
}
own_target

# packages COMMAND=PACKAGE ...: installs the packages whose command is missing.
packages() {
  local missing=() pair
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null 2>&1 || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  command -v apt-get >/dev/null 2>&1 ||
    fail "missing: ${missing[*]}. This script installs packages on Debian and Ubuntu only; install them yourself and run it again."
  local sudo=""
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || fail "missing: ${missing[*]}. Run as root, or install sudo."
    sudo=sudo
  fi
  say "installing ${missing[*]}"
  $sudo apt-get update -qq || fail "apt-get update failed: is the network up?"
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq "${missing[@]}" >/dev/null ||
    fail "could not install ${missing[*]}"
}

# version_at_least HAVE WANT
version_at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n1)" = "$2" ]; }

need_rust() {
  local want have
  want=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml | head -n1)
  [ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
  have=$(rustc --version 2>/dev/null | cut -d' ' -f2 || true)
  if [ -n "$have" ] && version_at_least "$have" "$want"; then return 0; fi
  packages curl=curl
  if command -v rustup >/dev/null 2>&1; then
    say "updating Rust (found ${have:-none}, $want or newer is needed)"
    rustup toolchain install stable --profile minimal -c rustfmt -c clippy && rustup default stable
  else
    say "installing Rust with rustup (found ${have:-none}, $want or newer is needed)"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
      sh -s -- -y -q --profile minimal -c rustfmt -c clippy ||
      fail "rustup could not be installed; install Rust $want or newer yourself and run this again"
    . "$HOME/.cargo/env"
  fi
  have=$(rustc --version | cut -d' ' -f2)
  version_at_least "$have" "$want" || fail "Rust $have is older than $want and could not be updated"
}

# Vite needs Node 20.19; older Debian and Ubuntu ship less, so a newer one comes from the npm registry.
need_node() {
  packages node=nodejs npm=npm
  local have
  have=$(node --version | tr -d v)
  if version_at_least "$have" 20.19.0; then return 0; fi
  if [ ! -x "$cache/node/node_modules/.bin/node" ]; then
    say "installing a newer Node (found $have)"
    npm install --silent --no-audit --no-fund --prefix "$cache/node" node@22 ||
      fail "Node 20.19 or newer is needed to build the room page"
  fi
  export PATH="$cache/node/node_modules/.bin:$PATH"
}

# Builds the room page when its sources are newer than what was built last.
build_page() {
  local stamp="node/web/dist/.stamp"
  if [ -f "$stamp" ] && [ -z "$(find node/web -path node/web/node_modules -prune -o -path node/web/dist -prune -o -type f -newer "$stamp" -print -quit)" ]; then
    return 0
  fi
  need_node
  say "building the room page"
  (cd node/web && npm ci --silent --no-audit --no-fund && npm run --silent build) || fail "the room page could not be built"
  touch "$stamp"
}

need_build_tools() { packages cc=build-essential git=git; need_rust; }
