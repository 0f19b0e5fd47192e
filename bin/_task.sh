# What `deno task` starts: FILE with the permission set SET of its folder's deno.json, and the same
# Deno on PATH for what it starts itself.   sh bin/_task.sh SET FILE [ARGUMENT ...]
here=$(cd "$(dirname "$0")" && pwd)
. "$here/_deno.sh"
find_deno
fetch_packages
# A name below the project that a task may be allowed to read; the binary itself can be anywhere.
ln -sfn "$DENO" "$root/.cache/deno"
PATH=$(dirname "$DENO"):$PATH
export PATH
set_name=$1
file=$2
shift 2
exec "$DENO" run --quiet --no-prompt --cached-only "-P=$set_name" "$root/$file" "$@"
