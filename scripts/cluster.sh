#!/usr/bin/env bash
# Runs a cluster of three gateways on this machine until Ctrl-C: Redis, the gateways, HAProxy before them, and synthetic devices. What is not
# installed is unpacked into out/servers. PORT, MQTT_PORT, ADMIN_PORT, REDIS_PORT and DEVICES choose the ports of HAProxy (8080, 1883), the first of the admin
# ports (8081, and the next two), Redis' port (7379) and the number of devices (300).
set -euo pipefail
cd "$(dirname "$0")/.."
port=${PORT:-8080} mqtt=${MQTT_PORT:-1883} admin=${ADMIN_PORT:-8081} redis=${REDIS_PORT:-7379} devices=${DEVICES:-300}
device_ports=$((port + 10)) mqtt_ports=$((mqtt + 10)) # of the gateways, which HAProxy connects to

declare -A wanted
# free PORT VARIABLE exits if a program listens on the port already, or another one of this script will. VARIABLE chooses the port.
free() {
	if [[ -n ${wanted[$1]:-} ]] || (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then
		echo "cluster: port $1 of $2 is taken${wanted[$1]:+ by $2 and ${wanted[$1]}}; choose another, such as: make cluster $2=$((${!3} + 1000))" >&2
		exit 1
	fi
	wanted[$1]=$2
}
free "$redis" REDIS_PORT redis
free "$port" PORT port
free "$mqtt" MQTT_PORT mqtt
free "$device_ports" PORT port
for n in 1 2 3; do
	free $((admin + n - 1)) ADMIN_PORT admin
	free $((device_ports + n)) PORT port
	free $((mqtt_ports + n)) MQTT_PORT mqtt
done

{
	read -r redis_dir
	read -r haproxy_dir
} < <(scripts/servers.sh redis haproxy)
dir=$(mktemp -d)
pids=()

# stop ends everything that this script started, Redis last.
stop() {
	trap '' INT TERM
	kill -TERM "${pids[@]:1}" 2>/dev/null || true
	wait "${pids[@]:1}" 2>/dev/null || true
	kill -TERM "${pids[@]:0:1}" 2>/dev/null || true
	wait
	rm -rf "$dir"
}
trap stop EXIT
trap 'echo; exit 0' INT TERM

# until_answers URL WHAT PID waits until a page is there.
until_answers() {
	local deadline=$((SECONDS + 30))
	until curl -fso /dev/null "$1"; do
		if ! kill -0 "$3" 2>/dev/null || ((SECONDS > deadline)); then
			echo "cluster: $2 is not ready; see above" >&2
			exit 1
		fi
		sleep 0.1
	done
}

set -m # a process group for each job, so that only this script gets Ctrl-C
"$redis_dir/redis-server" --bind 127.0.0.1 --port "$redis" --dir "$dir" --save '' --appendonly yes --loglevel warning >"$dir/redis.log" 2>&1 &
pids+=($!)

cat >"$dir/haproxy.cfg" <<END
defaults
	mode tcp
	timeout connect 2s
	timeout client 2h
	timeout server 2h
	option httpchk GET /readyz
	default-server check inter 500ms fall 2 rise 1 send-proxy-v2
frontend health
	mode http
	bind 127.0.0.1:$((device_ports))
	http-request return status 200
listen devices
	bind 127.0.0.1:$port
	balance leastconn
END
for n in 1 2 3; do
	cat >"$dir/gw-$n.yaml" <<END
gateway:
  listen: "127.0.0.1:$((device_ports + n))"
  insecure: true
  mqtt: {listen: "127.0.0.1:$((mqtt_ports + n))"}
  proxies: {protocol: [127.0.0.1]}
api: {address: "127.0.0.1:$((admin + n - 1))"}
cluster: {name: demo, node: gw-$n, lease: 5s, redis: {addresses: ["127.0.0.1:$redis"]}}
log: {level: warn}
END
	echo "	server gw-$n 127.0.0.1:$((device_ports + n)) port $((admin + n - 1))" >>"$dir/haproxy.cfg"
done
{
	printf 'listen mqtt\n\tbind 127.0.0.1:%s\n\tbalance leastconn\n' "$mqtt"
	for n in 1 2 3; do
		echo "	server gw-$n 127.0.0.1:$((mqtt_ports + n)) port $((admin + n - 1))"
	done
} >>"$dir/haproxy.cfg"

declare -A gateway
for n in 1 2 3; do
	bin/longline serve --config "$dir/gw-$n.yaml" &
	gateway[$n]=$!
	pids+=($!)
done
for n in 1 2 3; do until_answers "http://127.0.0.1:$((admin + n - 1))/readyz" "gw-$n" "${gateway[$n]}"; done
"$haproxy_dir/haproxy" -db -f "$dir/haproxy.cfg" >"$dir/haproxy.log" 2>&1 &
pids+=($!)
until_answers "http://127.0.0.1:$device_ports/" "HAProxy, whose log is $dir/haproxy.log," $!
bin/longline fleet run --gateway "ws://127.0.0.1:$port/connect" --devices "$devices" --rate "$devices" --retries=-1 --retry-min 500ms --retry-max 2s --quiet >/dev/null &
pids+=($!)

cat <<END

  devices   ws://127.0.0.1:$port/connect/{device}
            mqtt://127.0.0.1:$mqtt, ws://127.0.0.1:$port/mqtt
            HAProxy gives each to the gateway with the fewest connections
  backends  http://127.0.0.1:$admin, http://127.0.0.1:$((admin + 1)) or http://127.0.0.1:$((admin + 2)): each speaks for all
  redis     127.0.0.1:$redis
  gw-1      process ${gateway[1]}
  gw-2      process ${gateway[2]}
  gw-3      process ${gateway[3]}
  $devices synthetic devices each publish one message per second. Try:

    bin/longline nodes --server http://127.0.0.1:$admin
    kill -9 ${gateway[2]}    # then look at the nodes again: the devices are on the two others, with their sessions
    bin/longline serve --config $dir/gw-2.yaml &    # and gw-2 takes devices again

    curl -N 'http://127.0.0.1:$((admin + 2))/v1/subscribe?filter=device/fleet-1/%23'    # whichever gateway has the device
    curl -H 'Content-Type: application/json' -d '{"message": {"topic": "news", "text": "hello"}}' http://127.0.0.1:$admin/longline.v1.Gateway/Broadcast

  Ctrl-C stops everything that was started here.

END
wait "${pids[-1]}" || true # the devices go on while gateways come and go
echo "cluster: the devices have ended; see above" >&2
exit 1
