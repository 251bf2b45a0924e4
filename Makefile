# Everything here is a short name for a command that can also be typed. Only Go
# is needed for demo and test.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Start redrive with embedded broker and store, and failing messages
	go run ./server/cmd/redrive demo

.PHONY: test
test: ## Test both modules
	go test work

.PHONY: test-full
test-full: ## The same tests with large counts and the race detector (needs a C compiler)
	REDRIVE_FULL=1 go test -race -timeout 90m work
	go test -run '^TestSimulation$$' -v -timeout 90m . -simulation.seeds=200000
	cd torture && REDRIVE_FULL=1 go test -race -timeout 60m ./...
	cd e2e && REDRIVE_FULL=1 go test -race -timeout 60m ./...

.PHONY: simulation
simulation: ## Play 5,000 seeds of the simulation
	go test -run '^TestSimulation' -v . -simulation.seeds=5000

.PHONY: torture
torture: ## Kill workers and the broker, and cut its power: nothing may be lost
	cd torture && go run . -messages 20000 -kills 200
	cd torture && go run . -messages 20000 -kills 200 -server-kills 20 -inbox
	@echo "a power cut needs Linux and root:"
	cd torture && go run . -messages 5000 -kills 20 -power-cuts 20 -inbox

.PHONY: e2e
e2e: ## Run adapter and worker over faulty networks, and before a large backlog
	cd e2e && go test ./...

.PHONY: servers-up servers-down servers-status
servers-up: ## Start the servers that some tests need
	e2e/servers/up

servers-down: ## Stop them
	e2e/servers/down

servers-status: ## Say which of them are up
	e2e/servers/status

.PHONY: lint
lint: ## go vet and golangci-lint (built once, into the user's cache)
	go vet work
	tools/lint

.PHONY: bench
bench: ## Measure redrive beside others and write docs/benchmarks.md (half an hour; leave the machine alone)
	cd bench && go run . -o ../docs

.PHONY: bench-quick
bench-quick: ## See in about two minutes that everything can still be measured
	cd bench && go run . -quick >/dev/null

.PHONY: microbench
microbench: ## Run the Go benchmarks of both modules
	go test -run '^$$' -bench . -benchmem work

.PHONY: fuzz
fuzz: ## Fuzz every target, FUZZ_SECONDS in all (default 240)
	tools/fuzz "$${FUZZ_SECONDS:-240}"

.PHONY: fmt
fmt: ## Format the Go files
	tools/lint fmt

.PHONY: generate
generate: ## Make the generated files anew
	go generate work

.PHONY: tidy
tidy: ## Bring go.mod and go.sum of every module in order
	tools/tidy

.PHONY: cross
cross: ## Build for Linux, macOS and Windows on amd64 and arm64
	tools/cross

.PHONY: ci
ci: ## What has to pass before a change is merged
	.ci/run
