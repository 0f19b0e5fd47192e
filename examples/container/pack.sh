#!/bin/sh
# Makes the algorithm's image without a registry: `pack.sh IMAGE.tar`. It needs Docker and a static
# busybox (Debian: docker.io, busybox-static); whoever has a Dockerfile uses `docker build` instead.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir "$root/bin"
cp "$(command -v busybox)" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
cp "$here/mean.sh" "$root/bin/mean"
chmod 755 "$root/bin/mean"
name=cocos-example-mean:$$
tar -C "$root" --sort=name --owner=0 --group=0 -c . |
  docker import --change 'ENTRYPOINT ["/bin/mean"]' - "$name" >/dev/null
docker save -o "$1" "$name"
docker image rm "$name" >/dev/null
