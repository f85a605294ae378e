#!/usr/bin/env bash
# Installs PostgreSQL 15 in the directory $1: DIR/usr/lib/postgresql/15/bin. It is Debian's.
set -euo pipefail
. "$(dirname "$0")/debian.sh"
unpack_all "$1" bookworm postgresql-15
