#!/usr/bin/env bash
# Installs what the tests need beside Go: Node.js with the ws package, and Debian's
# python3-websockets. Does nothing when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

# install PACKAGE...: by apt-get, as root.
install() {
	command -v apt-get >/dev/null || {
		echo "deps: this system has no apt-get; install by hand what provides: $*" >&2
		exit 1
	}
	local as_root=()
	if ((EUID != 0)); then as_root=(sudo); fi
	"${as_root[@]}" apt-get update -qq
	DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "$@"
}

command -v node >/dev/null && command -v npm >/dev/null || install nodejs npm
/usr/bin/python3 -c 'import websockets' 2>/dev/null || install python3-websockets

node=test/interop/node
if [[ ! $node/node_modules/.package-lock.json -nt $node/package-lock.json ]]; then
	npm ci --prefix "$node" --no-audit --no-fund --loglevel=error
fi
