#!/bin/sh
# Makes an image of one script without a registry: `pack.sh IMAGE.tar [SCRIPT]`, mean.sh if none is
# named. It needs Docker and a static busybox (Debian: docker.io, busybox-static); whoever has a
# Dockerfile uses `docker build` and `docker save` instead.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir "$root/bin"
cp "$(command -v busybox)" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
cp "${2:-$here/mean.sh}" "$root/bin/algorithm"
chmod 755 "$root/bin/algorithm"
name=cocos-example:$$
tar -C "$root" --sort=name --owner=0 --group=0 -c . |
  docker import --change 'ENTRYPOINT ["/bin/algorithm"]' - "$name" >/dev/null
docker save -o "$1" "$name"
docker image rm "$name" >/dev/null
