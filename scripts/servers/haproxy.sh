#!/usr/bin/env bash
# Installs HAProxy 2.6 in the directory $1: DIR/haproxy. It is Debian's, with the libraries that it needs.
set -euo pipefail
. "$(dirname "$0")/debian.sh"
unpack "$1" bookworm haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 libpcre2-8-0 libssl3
dir=$(cd "$1" && pwd)
printf '#!/bin/sh\nLD_LIBRARY_PATH=%q exec %q "$@"\n' "$(echo "$dir"/usr/lib/*-linux-gnu)" "$dir/usr/sbin/haproxy" >"$dir/haproxy"
chmod +x "$dir/haproxy"
