#!/usr/bin/env bash
# Installs Redis in the directory $1: DIR/redis-server and DIR/redis-cli. It is Debian's, with the libraries that it needs.
set -euo pipefail
. "$(dirname "$0")/debian.sh"
unpack "$1" bookworm redis-server redis-tools libjemalloc2 liblzf1 libssl3
dir=$(cd "$1" && pwd)
libraries=$(echo "$dir"/usr/lib/*-linux-gnu)
for program in redis-server redis-cli; do
	printf '#!/bin/sh\nLD_LIBRARY_PATH=%q exec %q "$@"\n' "$libraries" "$dir/usr/bin/$program" >"$dir/$program"
	chmod +x "$dir/$program"
done
