.DEFAULT_GOAL := help
.PHONY: help build run test test-servers test-long lint vuln bench bench-compare bench-mqtt bench-durable bench-store bench-ocpp bench-services bench-sinks bench-bridge bench-100k bench-1m attack crash chaos cluster bench-cluster bench-cluster-failures soak simulation fuzz generate deps clean

# The programs of tools/go.mod, built once into tools/bin.
TOOLBIN := $(CURDIR)/tools/bin
TOOLS   := tools/bin/.built

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/longline
	go build -o bin/longline ./cmd/longline

run: build ## run a gateway with 100 synthetic devices, until Ctrl-C
	@scripts/run.sh

cluster: build ## run three gateways, Redis, HAProxy and 300 synthetic devices, until Ctrl-C
	@scripts/cluster.sh

test: deps ## run all tests with the race detector; installs what they need
	go vet -tags servers,long ./...
	go test -race -timeout 9m ./...
	go test ./internal/cluster/claim # the walks that are too long with the detector
	cd test/mqttdiff && go vet ./... && go test ./...

# Tests with the build tags servers and long use real servers: recipes in scripts/servers install them once, in out/servers.
SERVERS      = consul kafka redis valkey haproxy nginx envoy nats mariadb postgres
SERVERS_LONG = mysql nacos eureka etcd kubernetes models
WITH_SERVERS = ./test/servers ./test/registries ./test/sinks ./test/stores ./test/cluster ./internal/cluster ./internal/store/redis ./test/balancers

test-servers: deps ## run the tests that need real servers; installs those
	@scripts/servers.sh $(SERVERS)
	go test -race -timeout 20m -tags servers $(WITH_SERVERS)

test-long: deps ## the same with servers that take long: to be installed, or to start
	@scripts/servers.sh $(SERVERS) $(SERVERS_LONG)
	go test -race -timeout 30m -tags servers,long $(WITH_SERVERS) ./test/models

lint: $(TOOLS) ## check the code, for every platform
	@test -z "$$(gofmt -l .)" || { echo "these files are not formatted:"; gofmt -l .; exit 1; }
	$(TOOLBIN)/golangci-lint run
	$(TOOLBIN)/buf lint
	GOOS=linux GOARCH=arm64 go vet ./...
	for os in darwin windows; do for arch in amd64 arm64; do \
		GOOS=$$os GOARCH=$$arch go vet ./device || exit 1; done; done
	@scripts/vuln.sh

vuln: $(TOOLS) ## check the dependencies for known vulnerabilities
	@scripts/vuln.sh

bench: ## run the benchmarks
	go test -run='^$$' -bench=. -benchmem ./...

# REPS repetitions with SECONDS per load; QUICK=1 makes one short round.
REPS    ?= $(if $(QUICK),1,3)
SECONDS ?= $(if $(QUICK),2,5)

bench-compare: ## compare longline echo with a bare TCP echo and with other libraries
	mkdir -p bench/compare/bin
	cc -O2 -Wall -o bench/compare/bin/floor bench/compare/floor/floor.c
	go build -o bench/compare/bin/longline ./cmd/longline
	cd bench/compare && go build -o bin/ . ./peers
	cd bench/compare && bin/compare --reps=$(REPS) --duration=$(SECONDS)s

bench-mqtt: ## compare longline as an MQTT broker with mosquitto and mochi
	@scripts/deps.sh mosquitto
	mkdir -p bench/mqtt/bin
	go build -o bench/mqtt/bin/longline ./cmd/longline
	cd bench/mqtt && go build -o bin/ . ./peers
	cd bench/mqtt && bin/mqtt --reps=$(REPS) --duration=$(SECONDS)s $(if $(QUICK),--lag=2s --rounds=5)

bench-durable: ## measure what it costs that messages survive, with mosquitto and NATS beside
	@scripts/deps.sh mosquitto
	mkdir -p bench/durable/bin
	go build -o bench/durable/bin/longline ./cmd/longline
	cd bench/durable && go build -o bin/ . ./peers
	cd bench/durable && bin/durable --reps=$(REPS) --duration=$(SECONDS)s

bench-store: build ## measure messages that wait on disk: memory, a start after a kill, and devices that do nothing
	go build -o bench/waiting/out/waiting ./bench/waiting
	bench/waiting/out/waiting
	go build -o bench/scale/out/scale ./bench/scale
	bench/scale/out/scale --name=store --store --devices=100000 --keep=0s --no-storm

bench-ocpp: build ## measure 10,000 chargers that ask a service and are asked by a backend
	go build -o bench/ocpp/out/ocpp ./bench/ocpp
	bench/ocpp/out/ocpp --chargers=10000

bench-services: build ## measure calls of services: their cost beside nginx, slow and dying instances, a registry that is away
	@scripts/deps.sh nginx
	go build -o bench/services/out/services ./bench/services
	bench/services/out/services

bench-sinks: build ## measure messages from devices to Kafka, an outage of it, and rows into databases
	@scripts/servers.sh kafka postgres mariadb
	go build -o bench/sinks/out/sinks ./bench/sinks
	bench/sinks/out/sinks

bench-bridge: build ## measure what a bridge loses while the broker at its other end is away, with mosquitto's bridge beside
	go build -o bench/bridge/out/bridge ./bench/bridge
	bench/bridge/out/bridge

bench-cluster: build ## measure what a cluster of three costs above a single node, and a message across nodes, beside three servers of NATS
	@scripts/servers.sh redis nats >/dev/null
	go build -o bin/bench-cluster ./bench/cluster
	bin/bench-cluster

bench-cluster-failures: build ## measure failures of a cluster with 30,000 devices: a node is killed, another stopped, Redis is away, and forgets
	go build -o bin/chaos ./test/chaos
	@scripts/servers.sh redis >/dev/null
	bin/chaos failures $(FAILURES)

# KEEP is the time with heartbeats only; STORM=0 does not kill the gateway.
KEEP  ?= 3m
STORM ?= 1

bench-100k: build ## connect 100,000 devices on this machine, reach all, kill the gateway
	go build -o bench/scale/out/scale ./bench/scale
	bench/scale/out/scale --name=100k --devices=100000 --keep=$(KEEP) --storm=$(STORM)

bench-1m: build ## connect 1,000,000 devices on this machine; needs about 14 GB
	go build -o bench/scale/out/scale ./bench/scale
	bench/scale/out/scale --name=1m --devices=1000000 --keep=$(KEEP) --beat=60s --no-storm

attack: build ## attack a gateway while 1,000 honest devices use it; QUICK=1 for a short form
	go build -o bin/attack ./test/attack
	bin/attack $(if $(QUICK),--quick)

crash: build ## kill a gateway, and what its sinks write to, while devices use it; fails if anything is lost; QUICK=1 for one minute
	go build -o bin/crash ./test/crash
	@scripts/crash.sh $(if $(QUICK),--duration=60s) $(CRASH)

# CHAOS has more options, such as --redis=cluster, --redis=sentinel or --seed=7.
chaos: build ## break a cluster of three gateways in many ways while devices use it; fails if anything is lost or served twice; QUICK=1 for one minute
	go build -o bin/chaos ./test/chaos
	@scripts/servers.sh redis >/dev/null
	bin/chaos $(if $(QUICK),--duration=60s --devices=300 --pace=1s --stay=10s --lease=2s --no-clocks) $(CHAOS)

soak: build ## load a gateway for SOAK (1h); fails if messages are lost or memory grows
	@scripts/soak.sh

# SCHEDULES of joins, ends, drains and flaps of 100 nodes with 10 million devices.
SCHEDULES ?= 10000

simulation: ## simulate how a cluster of 100 nodes balances 10,000,000 devices
	go test -run='TestSchedules$$' -v -timeout 3h ./internal/cluster/balance -args -schedules=$(SCHEDULES)

fuzz: ## run every Fuzz function for FUZZTIME (10s)
	@scripts/fuzz.sh

generate: $(TOOLS) ## generate the code of proto/, docs/configuration.md and descriptor sets of tests
	PATH="$(TOOLBIN):$$PATH" buf generate
	PATH="$(TOOLBIN):$$PATH" buf build internal/format/testdata/proto --exclude-source-info -o internal/format/testdata/telemetry.binpb
	go test ./internal/config -run TestDocs -update

deps: ## install what the tests need besides Go
	@scripts/deps.sh

clean: ## remove what was built
	rm -rf bin tools/bin test/interop/node/node_modules test/interop/python/venv

$(TOOLS): tools/go.mod tools/go.sum
	cd tools && GOBIN=$(TOOLBIN) go install tool
	@touch $@
