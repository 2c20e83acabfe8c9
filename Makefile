# perdure: durable execution for Go on AWS Lambda and DynamoDB.
# `make demo` runs the main job, `make test` all tests. Both set up what they need; they need Go.

FUNCTIONS := startready processchildren close timeouts cancellation enqueue
GO_BUILD  := CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -tags lambda.norpc
INPUT     ?= .
FAMILY    ?= 10000
SEEDS     ?= 1000
SEED      ?= 1
SECONDS   ?= 120
MINUTES   ?= 30
CHECKS    ?= 300
ONLY      ?=
GOLANGCI_LINT := v2.15.0
GOVULNCHECK := v1.9.0

.PHONY: help demo orders test crash-matrix sim model chaos soak lint vulncheck bench bench-cost bench-contention bench-memory bench-scale bench-latency build build-arm64 build-x86_64 sam-validate sam-build sam-local sam-table clean

help: ## show the targets
	@sed -n 's/^\([a-z0-9_-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20

demo: ## count the words of every text file below INPUT (default: here), durably
	@go run ./localtest/demo -input '$(INPUT)'

orders: ## run the example application: orders by HTTP, queue, schedule and from Python, and what may go wrong with them
	@$(MAKE) --no-print-directory -C examples/orders run

test: ## run all tests, with the race detector
	go test -race -shuffle=on -timeout 60m ./...
	$(MAKE) --no-print-directory -C examples/orders test

crash-matrix: ## cut every scenario at every operation of its store, and the spawn of FAMILY children at every call
	go test ./core/simtest -run 'TestEveryOperationMayFail|TestTheSpawnOfALargeFamily' -family $(FAMILY) -count 1 -timeout 2h -v | grep -v '^ *=== '

sim: ## simulate SEEDS random programs on failing processes and stores, from SEED on
	go test ./core/simtest -run 'TestSimulation$$' -seeds $(SEEDS) -seed $(SEED) -count 1 -timeout 2h -v | grep -v '^ *=== '

model: ## give CHECKS random sequences of operations to the store in memory and to the one on DynamoDB Local
	go test ./dynamostore -run TestTheStoreAnswersAsTheModelDoes -rapid.checks $(CHECKS) -rapid.nofailfile -count 1 -timeout 2h -v | grep -v '^ *=== '

bench: ## how fast it is, in memory and on DynamoDB Local, in one process and through the functions
	@go run ./localtest/bench throughput $(ONLY)

bench-cost: ## what each kind of work consumes in request units; fails when one is over its budget
	@go run ./localtest/bench cost $(ONLY)

bench-contention: ## what several executors on one table waste on each other; fails when it is over its budget
	@go run ./localtest/bench contention $(ONLY)

bench-memory: ## the peak memory of an executor with 1,000 tasks due at once; fails when it is over its budget
	@go run ./localtest/bench memory

bench-scale: ## what an execution consumes with up to 1,000,000 others ready, and among 1,000 parents of 50 children
	@go run ./localtest/bench scale $(ONLY)

bench-latency: ## how long starts, results, chains and timers take, with the stream and without, and what an idle hour costs
	@go run ./localtest/bench latency $(ONLY)

lint: ## gofmt, go vet, golangci-lint, cfn-lint where it is installed
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	go vet ./...
	go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT) run ./...
	cd examples/orders && go vet ./... && go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT) run ./...
	@if command -v cfn-lint >/dev/null; then cfn-lint template.yaml examples/orders/template.yaml; else echo "cfn-lint is not installed: the templates are not linted"; fi

chaos: ## kill, stop and cut off everything around a workload for SECONDS, then check that nothing was lost; SEED draws the harm
	@go run ./localtest/chaos -for $(SECONDS)s -seed $(SEED)

soak: ## run a workload for MINUTES at a steady rate, then check that memory, goroutines and what is left over are flat
	@go run ./localtest/chaos -soak -for $(MINUTES)m -width 8

vulncheck: ## look the dependencies up in Go's database of vulnerabilities; needs the network
	go run golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK) ./...

build: build-arm64 build-x86_64 ## compile the functions for both architectures into .build/

build-arm64: GOARCH := arm64
build-x86_64: GOARCH := amd64
build-arm64 build-x86_64: build-%:
	@for f in $(FUNCTIONS); do \
	  GOOS=linux GOARCH=$(GOARCH) $(GO_BUILD) -o .build/$*/$$f/bootstrap ./functions/$$f || exit 1; \
	done

# The SAM CLI: the one on the PATH, else one of its own, from PyPI.
SAM_VERSION := 1.170.0
SAM ?= $(or $(shell command -v sam),$(CURDIR)/.build/sam/bin/sam)
SAM_ARCH ?= arm64
export SAM_ARCH
export SAM_CLI_TELEMETRY := 0

$(CURDIR)/.build/sam/bin/sam:
	python3 -m venv .build/sam
	.build/sam/bin/pip install --quiet aws-sam-cli==$(SAM_VERSION)

sam-validate: $(SAM) ## check both templates as AWS would
	$(SAM) validate --lint
	$(SAM) validate --lint --template examples/orders/template.yaml

sam-build: $(SAM) ## build what `sam deploy` uploads, of both templates; SAM_ARCH=x86_64 for the other processor
	$(SAM) build --parameter-overrides Architecture=$(SAM_ARCH)
	cd examples/orders && $(SAM) build --parameter-overrides Architecture=$(SAM_ARCH)

sam-local: $(SAM) ## invoke every function by `sam local invoke` on DynamoDB Local; needs Docker, and a build for this processor
	PATH="$(dir $(SAM)):$$PATH" go run ./localtest/samlocal --parameter-overrides Architecture=$(SAM_ARCH) $(SAM_FLAGS)

sam-table: ## DynamoDB Local on port 8000, with the table of localtest/env.json, until Ctrl-C: for `sam local` by hand
	@go run ./localtest/samlocal -table

# What `sam build` calls, once for each function of template.yaml.
build-StartReadyFunction: FUNCTION := startready
build-ProcessChildrenFunction: FUNCTION := processchildren
build-CloseFunction: FUNCTION := close
build-TimeoutsFunction: FUNCTION := timeouts
build-CancellationFunction: FUNCTION := cancellation
build-EnqueueFunction: FUNCTION := enqueue
build-%Function:
	GOOS=linux GOARCH=$(if $(filter x86_64,$(SAM_ARCH)),amd64,arm64) $(GO_BUILD) -o '$(ARTIFACTS_DIR)/bootstrap' ./functions/$(FUNCTION)

clean: ## remove what was built
	rm -rf .build .aws-sam
