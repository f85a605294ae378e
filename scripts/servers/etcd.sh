#!/usr/bin/env bash
# Installs etcd in the directory $1: DIR/usr/bin/etcd. It is Debian's.
set -euo pipefail
. "$(dirname "$0")/debian.sh"
unpack "$1" bookworm etcd-server
