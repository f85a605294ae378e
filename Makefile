.DEFAULT_GOAL := help
.PHONY: help generate lint

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
