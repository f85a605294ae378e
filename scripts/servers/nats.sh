#!/usr/bin/env bash
# Builds NATS in the directory $1: DIR/nats-server, with JetStream.
set -euo pipefail
GOBIN=$(cd "$1" && pwd) CGO_ENABLED=0 go install -trimpath -ldflags "-s -w" github.com/nats-io/nats-server/v2@v2.15.2
