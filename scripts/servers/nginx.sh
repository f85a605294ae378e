#!/usr/bin/env bash
# Installs nginx 1.22 in the directory $1: DIR/nginx, with its module stream as DIR/stream.so. It is Debian's, with the libraries that it needs.
set -euo pipefail
. "$(dirname "$0")/debian.sh"
unpack "$1" bookworm nginx libnginx-mod-stream libpcre2-8-0 libssl3
dir=$(cd "$1" && pwd)
ln -s usr/lib/nginx/modules/ngx_stream_module.so "$dir/stream.so"
printf '#!/bin/sh\nLD_LIBRARY_PATH=%q exec %q "$@"\n' "$(echo "$dir"/usr/lib/*-linux-gnu)" "$dir/usr/sbin/nginx" >"$dir/nginx"
chmod +x "$dir/nginx"
