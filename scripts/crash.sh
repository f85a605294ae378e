#!/usr/bin/env bash
# Kills a gateway again and again, see test/crash; arguments are those of bin/crash. Before that it cuts the power of a
# disk that forgets what was not synced, at every step of a history: a killed process does not test syncs, because the
# kernel keeps what it wrote.
set -euo pipefail
cd "$(dirname "$0")/.."

echo 'the journal on a disk that forgets, tears, reorders and flips:'
go test -count=1 -v -run '^(TestPowerCutAtEachStep|TestFaultAtEachStep|TestFlippedBits|TestSpoiltSectors)$' ./internal/journal |
	sed -n 's/^ *[a-z_]*\.go:[0-9]*: /  /p; /^--- FAIL/p; /^ok/s/.*/  lost 0, silent 0/p'
[[ " $* " == *' --no-sinks '* ]] || scripts/servers.sh kafka mosquitto postgres >/dev/null
bin/crash "$@"
