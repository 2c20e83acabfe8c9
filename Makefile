# perdure: durable execution for Go on AWS Lambda and DynamoDB.
# `make demo` runs the main job, `make test` all tests. Both set up what they need; they need Go.

FUNCTIONS := startready processchildren close timeouts cancellation enqueue
GO_BUILD  := CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -tags lambda.norpc
INPUT     ?= .
GOLANGCI_LINT := v2.15.0

.PHONY: help demo test lint build build-arm64 build-x86_64 clean

help: ## show the targets
	@sed -n 's/^\([a-z0-9_-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: ## count the words of every text file below INPUT (default: here), durably
	@go run ./localtest/demo -input '$(INPUT)'

test: ## run all tests, with the race detector
	go test -race -shuffle=on ./...

lint: ## gofmt, go vet, golangci-lint, cfn-lint where it is installed
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	go vet ./...
	go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT) run ./...
	@if command -v cfn-lint >/dev/null; then cfn-lint template.yaml; else echo "cfn-lint is not installed: template.yaml is not linted"; fi

build: build-arm64 build-x86_64 ## compile the functions for both architectures into .build/

build-arm64: GOARCH := arm64
build-x86_64: GOARCH := amd64
build-arm64 build-x86_64: build-%:
	@for f in $(FUNCTIONS); do \
	  GOOS=linux GOARCH=$(GOARCH) $(GO_BUILD) -o .build/$*/$$f/bootstrap ./functions/$$f || exit 1; \
	done

# What `sam build` calls, once for each function of template.yaml.
SAM_ARCH ?= arm64
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
