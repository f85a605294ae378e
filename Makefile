.DEFAULT_GOAL := help
.PHONY: help generate lint bench-compare

# The programs of tools/go.mod, built once into tools/bin.
export GOBIN := $(CURDIR)/tools/bin
TOOLS        := tools/bin/.built

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

generate: $(TOOLS) ## write the Go code of proto/ again
	PATH="$(GOBIN):$$PATH" buf generate

lint: $(TOOLS) ## check the Go code and the protobuf files
	$(GOBIN)/golangci-lint run
	$(GOBIN)/buf lint

$(TOOLS): tools/go.mod
	cd tools && go install tool
	@touch $@

# REPS repetitions with SECONDS a load; QUICK=1 is one short round.
REPS    ?= $(if $(QUICK),1,3)
SECONDS ?= $(if $(QUICK),2,5)

bench-compare: ## measure longline echo beside the floor and other libraries
	mkdir -p bench/compare/bin
	cc -O2 -Wall -o bench/compare/bin/floor bench/compare/floor/floor.c
	go build -o bench/compare/bin/longline ./cmd/longline
	cd bench/compare && go build -o bin/ . ./peers
	cd bench/compare && bin/compare --reps=$(REPS) --seconds=$(SECONDS)s
