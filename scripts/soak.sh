#!/usr/bin/env bash
# Starts a gateway on free ports and loads it for SOAK (1h). Fails if a message is lost, a connection ends,
# or the gateway's memory more than doubles. DEVICES (1000) publish RATE (2000) messages per second in all, with QoS 1.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
gateway=''
stop() {
	if [[ -n $gateway ]]; then
		kill -TERM "$gateway" 2>/dev/null || true
		wait "$gateway" 2>/dev/null || true
	fi
	rm -rf "$work"
}
trap stop EXIT

bin/longline serve --insecure --listen 127.0.0.1:0 --admin 127.0.0.1:0 2>"$work/log" &
gateway=$!
deadline=$((SECONDS + 20))
until address=$(sed -n 's/.*msg=listening devices=\([^ ]*\).*/\1/p' "$work/log") && [[ -n $address ]]; do
	if ! kill -0 "$gateway" 2>/dev/null || ((SECONDS > deadline)); then
		cat "$work/log" >&2
		echo "soak: the gateway is not ready" >&2
		exit 1
	fi
	sleep 0.1
done
# memory prints the anonymous memory of the gateway, in kB.
memory() { awk '/^Anonymous:/ {print $2}' "/proc/$gateway/smaps_rollup"; }

load() {
	bin/longline bench soak --gateway "$address" --pid "$gateway" --devices "${DEVICES:-1000}" \
		--rate "${RATE:-2000}" --duration "$1"
}
load 30s >/dev/null # so that buffers and maps have reached their size
before=$(memory)
load "${SOAK:-1h}"
after=$(memory)
echo "anonymous memory of the gateway: $before kB before, $after kB after"
((after <= 2 * before)) || { echo "soak: memory grows" >&2; exit 1; }
