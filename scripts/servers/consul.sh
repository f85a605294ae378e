#!/usr/bin/env bash
# Installs Consul in the directory $1: DIR/usr/bin/consul. It is 1.8.7, the last that Debian has packaged.
set -euo pipefail
. "$(dirname "$0")/debian.sh"
unpack "$1" bullseye consul
