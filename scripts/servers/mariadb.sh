#!/usr/bin/env bash
# Installs MariaDB 10.11 in the directory $1: DIR/usr/sbin/mariadbd. It is Debian's.
set -euo pipefail
. "$(dirname "$0")/debian.sh"
unpack_all "$1" bookworm mariadb-server-core mariadb-client
