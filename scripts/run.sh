#!/usr/bin/env bash
# Runs a gateway and synthetic devices until Ctrl-C. PORT, MQTT_PORT, ADMIN_PORT and DEVICES
# choose the ports (8080, 1883, 8081) and the number of devices (100), DATA the directory in which sessions, queues and
# retained messages survive (./data).
set -euo pipefail
cd "$(dirname "$0")/.."
port=${PORT:-8080} mqtt=${MQTT_PORT:-1883} admin=${ADMIN_PORT:-8081} devices=${DEVICES:-100} data=${DATA:-./data}

# free PORT VARIABLE exits if a program listens on the port already. VARIABLE chooses the port.
free() {
	if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then
		echo "run: port $1 is taken; choose another, such as: make run $2=$(($1 + 1000))" >&2
		exit 1
	fi
}
free "$port" PORT
free "$mqtt" MQTT_PORT
free "$admin" ADMIN_PORT

# stop PID ends a process that this script started.
stop() {
	if [[ -n $1 ]]; then
		kill -TERM "$1" 2>/dev/null || true
		wait "$1" 2>/dev/null || true
	fi
}
gateway='' fleet=''
trap 'stop "$fleet"; stop "$gateway"' EXIT
trap 'echo; exit 0' INT TERM

set -m # a process group for each job, so that only this script gets Ctrl-C
bin/longline serve --insecure --data "$data" --listen "127.0.0.1:$port" --mqtt "127.0.0.1:$mqtt" --admin "127.0.0.1:$admin" &
gateway=$!
deadline=$((SECONDS + 20))
until curl -fso /dev/null "http://127.0.0.1:$admin/readyz"; do
	if ! kill -0 "$gateway" 2>/dev/null || ((SECONDS > deadline)); then
		echo "run: the gateway is not ready" >&2
		exit 1
	fi
	sleep 0.1
done
cat <<END

  devices   ws://127.0.0.1:$port/connect/{device}
            mqtt://127.0.0.1:$mqtt, ws://127.0.0.1:$port/mqtt
  backends  http://127.0.0.1:$admin
  data      $data, where sessions, queues, retained messages and commands are found again at the next start
  $devices synthetic devices each publish one message per second. Try:

    curl -N 'http://127.0.0.1:$admin/v1/subscribe?filter=device/fleet-1/%23'
    curl -H 'Content-Type: application/json' -d '{"page_size": 3}' http://127.0.0.1:$admin/longline.v1.Gateway/ListDevices
    curl -H 'Content-Type: application/json' -d '{"message": {"topic": "news", "text": "hello"}}' http://127.0.0.1:$admin/longline.v1.Gateway/Broadcast

  Ctrl-C stops everything.

END
bin/longline fleet run --gateway "ws://127.0.0.1:$port/connect" --devices "$devices" --rate "$devices" --quiet >/dev/null &
fleet=$!
wait -n "$gateway" "$fleet" || true # with the exit code of what has ended
echo "run: the gateway or the fleet has ended; see above" >&2
exit 1
