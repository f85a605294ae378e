#!/usr/bin/env bash
# Installs Mosquitto: it is this system's package, and DIR/mosquitto, where DIR is $1, is a link to its program.
set -euo pipefail
"$(dirname "$0")/../deps.sh" mosquitto
PATH=$PATH:/usr/sbin:/usr/local/sbin
ln -s "$(command -v mosquitto)" "$1/mosquitto"
