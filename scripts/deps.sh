#!/usr/bin/env bash
# Installs what the tests need besides Go, if it is missing: Node.js with the packages ws, mqtt and ocpp-rpc, Debian's
# python3-websockets and python3-paho-mqtt, the Python package ocpp in a virtual environment, and Mosquitto with its clients
# and libmosquitto. With the argument mosquitto or nginx it installs only that, which is all that make bench-mqtt or make bench-services needs.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin

# install PACKAGE... installs packages by apt-get, as root. RUNLEVEL=1 keeps their services from starting.
install() {
	command -v apt-get >/dev/null || {
		echo "deps: this system has no apt-get; install these packages, or what provides the same: $*" >&2
		exit 1
	}
	local as_root=()
	if ((EUID != 0)); then as_root=(sudo); fi
	"${as_root[@]}" apt-get update -qq
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "$@"
}

if [[ ${1-} == nginx ]]; then
	command -v nginx >/dev/null || install nginx-light
	exit
fi
command -v mosquitto >/dev/null || install mosquitto
if [[ ${1-} == mosquitto ]]; then exit; fi

command -v mosquitto_sub >/dev/null || install mosquitto-clients
printf '#include <mosquitto.h>\n' | cc -E -o /dev/null - 2>/dev/null || install libmosquitto-dev
command -v node >/dev/null && command -v npm >/dev/null || install nodejs npm
/usr/bin/python3 -c 'import websockets' 2>/dev/null || install python3-websockets
/usr/bin/python3 -c 'import paho.mqtt' 2>/dev/null || install python3-paho-mqtt

node=test/interop/node
if [[ ! $node/node_modules/.package-lock.json -nt $node/package-lock.json ]]; then
	npm ci --prefix "$node" --no-audit --no-fund --loglevel=error
fi

python=test/interop/python
if [[ ! $python/venv/.installed -nt $python/requirements.txt ]]; then
	rm -rf "$python/venv"
	/usr/bin/python3 -m venv "$python/venv" 2>/dev/null || { install python3-venv && /usr/bin/python3 -m venv --clear "$python/venv"; }
	"$python/venv/bin/pip" install --quiet --disable-pip-version-check -r "$python/requirements.txt"
	touch "$python/venv/.installed"
fi
