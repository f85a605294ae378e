#!/usr/bin/env bash
# Installs what scripts/servers/models.py needs in the directory $1: DIR/venv, and inference_pb2.py of the protocol's messages.
set -euo pipefail
cd "$(dirname "$0")/../.."
/usr/bin/python3 -m venv "$1/venv"
"$1/venv/bin/pip" install --quiet --disable-pip-version-check scikit-learn==1.7.2 grpcio==1.76.0 grpcio-tools==1.76.0
"$1/venv/bin/python" -m grpc_tools.protoc -Iinternal/model/inference --python_out="$1" inference.proto
