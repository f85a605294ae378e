#!/usr/bin/env bash
# Installs MySQL in the directory $1: DIR/usr/sbin/mysqld. It is Debian unstable's, with the libraries that it needs, because this
# system's are older: DIR/lib64/ld-linux-x86-64.so.2 runs it with these.
set -euo pipefail
. "$(dirname "$0")/debian.sh"
unpack_all "$1" sid mysql-server-core
