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
.PHONY: help run build test test-full check fuzz bench soak dashboards race-needs redis-needs chromium-needs postgres-needs postgres-missing prometheus-needs prometheus-missing systemd-needs systemd-missing node-missing

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build, and start a receiver on loopback with secrets of its own
	bin/spillway serve --dev

build: ## build bin/spillway
	$(GO) build -buildvcs=false -trimpath -ldflags '$(LDFLAGS)' -o bin/spillway ./cmd/spillway

test: race-needs redis-needs chromium-needs postgres-missing prometheus-missing systemd-missing node-missing ## the tests, with the race detector, under ten minutes
	CGO_ENABLED=1 $(GO) test -race -timeout 9m ./...
	$(GO) test -count=1 -run Alloc ./... # the race detector allocates on its own
	cd bench/peers && CGO_ENABLED=1 $(GO) test -race -timeout 5m ./...

test-full: race-needs redis-needs chromium-needs postgres-needs prometheus-needs systemd-needs node-missing ## everything: the long tests too, under an hour
	SPILLWAY_TEST_FULL=1 CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 55m ./...
	cd bench/peers && SPILLWAY_TEST_FULL=1 CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 5m ./...

check: ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l .) || exit 1; \
	if [ -n "$$unformatted" ]; then echo "not formatted, run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	cd bench/peers && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...

fuzz: ## every fuzz target for FUZZTIME (10s)
	@set -euo pipefail; found=0; \
	for package in $$($(GO) list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' "$$package" | { grep '^Fuzz' || true; }); do \
	    echo "== $$package $$target"; found=$$((found + 1)); \
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package"; \
	  done; \
	done; \
	echo "$$found fuzz targets ran"; [ "$$found" -gt 0 ]

bench: build ## Spillway beside what people use instead, and its campaigns: bench/RESULTS.md
	cd bench/peers && $(GO) build -o ../../bin/peers .
	bin/peers --spillway bin/spillway --keep bin/campaigns --out bench/RESULTS.md

soak: ## a load for SOAKTIME (1h) with kill -9 now and then: nothing lost, nothing grows
	SPILLWAY_SOAK=$(SOAKTIME) $(GO) test -count=1 -timeout 0 -v -run '^TestSoak$$' ./cmd/spillway

dashboards: ## dashboards/grafana and runbook, made by dashboards/generate
	$(GO) run ./dashboards/generate

# debian PACKAGE… installs them as root where there is apt-get, else it fails.
# Their services are not started, unless a policy-rc.d of the machine's own says so.
debian = debian() ( \
  command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] || return 1; \
  echo "installing $$*"; \
  policy=/usr/sbin/policy-rc.d; \
  if [ ! -e $$policy ]; then \
    trap "rm -f $$policy" EXIT; \
    printf '\#!/bin/sh\nexit 101\n' >$$policy && chmod 755 $$policy; \
  fi; \
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$$@" >/dev/null \
)

# The race detector is written in C.
race-needs:
	@$(debian); \
	compiler=$$($(GO) env CC); compiler=$${compiler%% *}; \
	command -v $$compiler >/dev/null || debian gcc libc6-dev; \
	if ! command -v $$compiler >/dev/null; then \
	  echo "The race detector needs a C compiler, and $$compiler is not installed." >&2; \
	  echo "Install one (apt-get install gcc libc6-dev, apk add gcc musl-dev, xcode-select --install)," >&2; \
	  echo "or run the tests without the race detector: go test ./..." >&2; \
	  exit 1; \
	fi

# The tests start Redis servers of their own; Debian's shall not run at the next boot.
redis-needs:
	@$(debian); \
	missing() { ! command -v redis-server >/dev/null || ! command -v redis-cli >/dev/null; }; \
	if missing; then debian redis-server && update-rc.d redis-server disable; fi; \
	if missing; then \
	  echo "The tests need redis-server and redis-cli, 6.2 or later, on the PATH." >&2; \
	  echo "Install them (apt-get install redis-server, apk add redis, dnf install redis, brew install redis);" >&2; \
	  echo "they need not run: the tests start servers of their own on free ports." >&2; \
	  exit 1; \
	fi

# The tests look at pages in a real browser.
chromium-needs:
	@$(debian); \
	missing() { ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null && ! command -v google-chrome >/dev/null; }; \
	if missing; then debian chromium; fi; \
	if missing; then \
	  echo "The tests need chromium, chromium-browser or google-chrome on the PATH." >&2; \
	  echo "Install one (apt-get install chromium, apk add chromium, dnf install chromium," >&2; \
	  echo "brew install --cask google-chrome); the tests start it without a window." >&2; \
	  exit 1; \
	fi

# The peers' tests start a PostgreSQL of their own. It is large, so only test-full
# installs it; where there is none, make test says that it is not tested.
postgres-needs:
	@$(debian); \
	missing() { ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && ! command -v initdb >/dev/null; }; \
	if missing; then debian postgresql && update-rc.d postgresql disable; fi; \
	if missing; then \
	  echo "make test-full needs postgres and initdb." >&2; \
	  echo "Install them (apt-get install postgresql, apk add postgresql, dnf install postgresql-server, brew install postgresql)." >&2; \
	  exit 1; \
	fi

postgres-missing:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || \
	  echo "NOT TESTED: the benchmark's PostgreSQL peer, since postgres and initdb are not installed; make test-full installs them."

# The tests of the rules start a Prometheus and an Alertmanager of their own;
# Debian's shall not run at the next boot.
prometheus-needs:
	@$(debian); \
	missing() { \
	  ! command -v prometheus >/dev/null || ! command -v promtool >/dev/null || ! command -v amtool >/dev/null || \
	  { ! command -v alertmanager >/dev/null && ! command -v prometheus-alertmanager >/dev/null; }; \
	}; \
	if missing; then \
	  debian --no-install-recommends prometheus prometheus-alertmanager && \
	  update-rc.d prometheus disable && update-rc.d prometheus-alertmanager disable; \
	fi; \
	if missing; then \
	  echo "make test-full needs prometheus and promtool, 2.42 or later, alertmanager and amtool on the PATH." >&2; \
	  echo "Install them (apt-get install prometheus prometheus-alertmanager, apk add prometheus alertmanager," >&2; \
	  echo "brew install prometheus alertmanager); they need not run: the tests start their own on free ports." >&2; \
	  exit 1; \
	fi

prometheus-missing:
	@{ command -v promtool && command -v amtool; } >/dev/null || \
	  echo "NOT TESTED: rules, alerts and their routes, since promtool or amtool is not installed; make test-full installs them."

# systemd reads the unit of the service; it need not run.
systemd-needs:
	@$(debian); \
	missing() { ! command -v systemd-analyze >/dev/null; }; \
	if missing; then debian systemd; fi; \
	if missing; then \
	  echo "make test-full needs systemd-analyze." >&2; \
	  echo "Install it (apt-get install systemd, dnf install systemd)." >&2; \
	  exit 1; \
	fi

systemd-missing:
	@command -v systemd-analyze >/dev/null || \
	  echo "NOT TESTED: the systemd unit, since systemd-analyze is not installed; make test-full installs it."

# Debian's own Node may be too old for WebSockets, so it is not installed.
node-missing:
	@node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null || \
	  echo "NOT TESTED: the examples for Node in README.md and dispatch/stream/client/README.md, since there is no node 20.10 or later; Chromium runs the same client of the stream."
