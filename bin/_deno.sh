# Sourced by the launchers beside it: finds Deno and starts one process of the house with exactly
# its rights. Set `here` to the folder of the launcher first. POSIX sh, no bashisms.

DENO_VERSION=2.9.6
root=$(cd "$here/.." && pwd)

fail() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  [ -z "${2:-}" ] || printf 'hint: %s\n' "$2" >&2
  exit 1
}

# Whether $1 is a Deno of the pinned version.
is_our_deno() {
  case "$("$1" --version 2>/dev/null)" in "deno $DENO_VERSION "*) return 0 ;; esac
  return 1
}

# Sets DENO to the binary of the pinned version: COCOS_DENO, an earlier find, PATH, or npm's.
find_deno() {
  remembered=$root/.cache/deno-path
  DENO=${COCOS_DENO:-}
  if [ -z "$DENO" ] || [ ! -x "$DENO" ]; then
    DENO=
    [ ! -r "$remembered" ] || IFS= read -r DENO <"$remembered" || DENO=
  fi
  if [ -z "$DENO" ] || [ ! -x "$DENO" ]; then
    if command -v deno >/dev/null 2>&1 && is_our_deno deno; then
      set_deno deno
    elif command -v npx >/dev/null 2>&1; then
      echo "fetching Deno $DENO_VERSION ..." >&2
      set_deno npx -y "deno@$DENO_VERSION"
    else
      fail "Deno $DENO_VERSION is not on PATH, and neither is npx to fetch it" \
        "install Node.js, or put Deno $DENO_VERSION on PATH"
    fi
  fi
  export COCOS_DENO="$DENO"
}

# set_deno COMMAND...: asks a Deno, or a wrapper around one, where its binary is; remembers that.
set_deno() {
  DENO=$("$@" eval 'console.log(Deno.execPath())' 2>/dev/null) && [ -x "$DENO" ] ||
    fail "Deno $DENO_VERSION could not be started" "try: $* --version"
  { mkdir -p "$root/.cache" && printf '%s\n' "$DENO" >"$remembered"; } 2>/dev/null || :
}

# Fetches the locked packages once per lock file and cache; afterwards nothing is fetched at run time.
fetch_packages() {
  sum=$({ printf '%s\n' "${DENO_DIR:-${XDG_CACHE_HOME:-${HOME:-}}}"; cat "$root/deno.lock"; } | cksum)
  stamp=$root/.cache/packages-${sum%% *}
  [ -e "$stamp" ] && return 0
  (cd "$root" && "$DENO" install --frozen --quiet </dev/null >/dev/null 2>&1) ||
    fail "the locked packages could not be fetched" "try: cd $root && deno install --frozen"
  { mkdir -p "$root/.cache" && true >"$stamp"; } 2>/dev/null || true
}

# bundle_child: sets CHILD to the one file that runs WebAssembly modules, bundled once per state of its
# sources; empty where that can't be done.
bundle_child() {
  sum=$(cat "$root"/runtimes/wasm/*.ts | cksum)
  CHILD=$root/.cache/wasm-child-${sum%% *}.js
  [ ! -r "$CHILD" ] || return 0
  if ! { (umask 022 && mkdir -p "$root/.cache" && cd "$root" &&
    "$DENO" bundle --quiet --platform deno -o "$CHILD.$$" runtimes/wasm/child.ts &&
    mv "$CHILD.$$" "$CHILD") </dev/null >/dev/null 2>&1; }; then
    rm -f "$CHILD.$$" 2>/dev/null || :
    echo "${0##*/}: runtimes/wasm/child.ts could not be bundled: WebAssembly is refused" >&2
    CHILD=
  fi
}

# bundle_pyodide: sets PYODIDE to a folder with Pyodide's files and the child that loads them, made once
# per state of its sources; empty where that can't be done.
bundle_pyodide() {
  sum=$(cat "$root"/runtimes/python/pyodide_*.ts "$root/deno.lock" | cksum)
  PYODIDE=$root/.cache/pyodide-${sum%% *}
  [ ! -r "$PYODIDE/child.js" ] || return 0
  version=$(sed -n 's|.*"pyodide": "npm:pyodide@\([0-9.]*\)".*|\1|p' "$root/deno.json")
  made=$PYODIDE.$$
  if ! { (umask 022 && mkdir -p "$made" && cd "$root" &&
    cache=${DENO_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/deno} &&
    cp "$cache"/npm/*/pyodide/"$version"/pyodide.asm.mjs "$cache"/npm/*/pyodide/"$version"/pyodide.asm.wasm \
      "$cache"/npm/*/pyodide/"$version"/python_stdlib.zip "$made/" && chmod 644 "$made"/* &&
    "$DENO" bundle --quiet --frozen --platform deno -o "$made/child.js" \
      runtimes/python/pyodide_child.ts && mv -T "$made" "$PYODIDE") </dev/null >/dev/null 2>&1; }; then
    rm -rf "$made" 2>/dev/null || :
    [ -r "$PYODIDE/child.js" ] || PYODIDE=
  fi
}

# bundle_agent: sets BUNDLE to a folder with the agent in one file, agent/main.ts.js, bundled once per
# state of its sources; empty where that can't be done. It starts in half the time of its modules.
bundle_agent() {
  sum=$(cd "$root" && {
    echo "$DENO_VERSION"
    cat deno.json deno.lock
    find agent base proto attestation channel \( -name '*.ts' -o -name '*.json' \) \
      ! -name '*_test.ts' ! -path '*/testdata/*' | LC_ALL=C sort | xargs cat
  } | cksum)
  BUNDLE=$root/.cache/agent-${sum%% *}
  [ ! -r "$BUNDLE/agent/main.ts.js" ] || return 0
  made=$BUNDLE.$$
  if (umask 022 && mkdir -p "$made/agent" && cd "$root" && "$DENO" bundle --quiet --frozen \
    --platform deno -o "$made/agent/main.ts.js" agent/main.ts) </dev/null >/dev/null 2>&1 &&
    { mv -T "$made" "$BUNDLE" 2>/dev/null || [ -r "$BUNDLE/agent/main.ts.js" ]; }; then
    # Those of older sources, unless a launcher may be about to start one.
    find "$root/.cache" -maxdepth 1 -name 'agent-*' -mmin +60 ! -path "$BUNDLE" -exec rm -rf {} +
  else
    BUNDLE=
  fi
  rm -rf "$made" 2>/dev/null || :
}

# launch FOLDER [ARGUMENT ...]: becomes the process FOLDER/main.ts. Its fixed rights stand in
# FOLDER/deno.json; those that follow from its configuration are printed by FOLDER/rights.ts, one
# flag a line. rights.ts itself gets what its first `// launch:` line says.
launch() {
  folder=$root/$1
  shift
  find_deno
  fetch_packages
  if [ -e "$folder/rights.ts" ]; then
    needs=$(sed -n 's|^// launch: ||p' "$folder/rights.ts" | head -n 1)
    # shellcheck disable=SC2086 # the list is ours, and its words have no spaces
    flags=$("$DENO" run --quiet --no-prompt --cached-only $needs "$folder/rights.ts" -- "$@") ||
      exit $?
    set -- "$folder/main.ts" "$@"
    IFS='
'
    set -f
    # shellcheck disable=SC2086 # one flag a line
    set -- $flags "$@"
    set +f
    unset IFS
    exec "$DENO" run -P --quiet --no-prompt --cached-only "$@"
  fi
  exec "$DENO" run -P --quiet --no-prompt --cached-only "$folder/main.ts" "$@"
}
