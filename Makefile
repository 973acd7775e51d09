# Spillway: what to type. `make` alone lists it.

SHELL       := /bin/bash
GO          ?= go
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 10s
SOAKTIME    ?= 1h

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT  := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
LDFLAGS := -X main.version=$(VERSION) -X main.commit=$(COMMIT)

.DEFAULT_GOAL := help
.PHONY: help run build test test-full check fuzz bench soak race-needs

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build, and start a receiver on loopback with secrets of its own
	bin/spillway serve --dev

build: ## build bin/spillway
	$(GO) build -buildvcs=false -trimpath -ldflags '$(LDFLAGS)' -o bin/spillway ./cmd/spillway

test: race-needs ## the tests, with the race detector, under ten minutes
	CGO_ENABLED=1 $(GO) test -race -timeout 9m ./...
	$(GO) test -count=1 -run Alloc ./... # the race detector allocates on its own

test-full: race-needs ## everything: the long tests too, under an hour
	SPILLWAY_TEST_FULL=1 CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 55m ./...

check: ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l .) || exit 1; \
	if [ -n "$$unformatted" ]; then echo "not formatted, run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

fuzz: ## every fuzz target for FUZZTIME (10s)
	@set -euo pipefail; found=0; \
	for package in $$($(GO) list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' "$$package" | { grep '^Fuzz' || true; }); do \
	    echo "== $$package $$target"; found=$$((found + 1)); \
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package"; \
	  done; \
	done; \
	echo "$$found fuzz targets ran"; [ "$$found" -gt 0 ]

bench: build ## what an acknowledgement costs, beside the same without a log
	bin/spillway bench ack

soak: ## a load for SOAKTIME (1h) with kill -9 now and then: nothing lost, nothing grows
	SPILLWAY_SOAK=$(SOAKTIME) $(GO) test -count=1 -timeout 0 -v -run '^TestSoak$$' ./cmd/spillway

# The race detector is written in C.
race-needs:
	@compiler=$$($(GO) env CC); compiler=$${compiler%% *}; \
	if ! command -v $$compiler >/dev/null && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  echo "installing a C compiler for the race detector"; \
	  apt-get update -qq && apt-get install -y -qq gcc libc6-dev >/dev/null; \
	fi; \
	if ! command -v $$compiler >/dev/null; then \
	  echo "The race detector needs a C compiler, and $$compiler is not installed." >&2; \
	  echo "Install one (apt-get install gcc libc6-dev, apk add gcc musl-dev, xcode-select --install)," >&2; \
	  echo "or run the tests without the race detector: go test ./..." >&2; \
	  exit 1; \
	fi
