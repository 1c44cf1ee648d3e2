# Everything a developer or an admin types. `make run` and `make test` need nothing but a Debian machine with Go.

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.1.4
VERSION     = $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZTIME    = 3s
SOAK        = 50

.PHONY: help build run test soak test-clients check vuln fuzz bench generate clean

help:
	@echo "make run       build and start a server on http://localhost:8008"
	@echo "make test      all checks and all tests, with the race detector"
	@echo "make test-clients  the server driven with matrix-js-sdk"
	@echo "make soak      kill and restart everything under load, SOAK ($(SOAK)) rounds of each"
	@echo "make check     format, vet, staticcheck and the architecture alone"
	@echo "make vuln      known vulnerabilities in what is used; asks the Go vulnerability database"
	@echo "make fuzz      every fuzz test for FUZZTIME ($(FUZZTIME))"
	@echo "make bench     measure a whole server, ten minutes; writes docs/performance.md"
	@echo "make generate  write the generated files again"
	@echo "make build     bin/allmende, stripped"

build:
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/allmende ./cmd/allmende

run: build
	@deploy/prerequisites.sh postgresql
	@[ -e allmende.yaml ] || printf 'server_name: localhost\n' > allmende.yaml
	./bin/allmende serve

check:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	  [ -z "$$unformatted" ] || { echo "gofmt would change:"; echo "$$unformatted"; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...
	go test -count=1 ./internal/archtest ./config

# Not part of check: it needs a database from the network, and says something new every week.
vuln:
	go run $(GOVULNCHECK) ./...

test: check
	@deploy/prerequisites.sh postgresql gcc
	go test -race -p 2 ./...
	$(MAKE) --no-print-directory fuzz

test-clients: build
	@deploy/prerequisites.sh postgresql node npm
	cd test/clients/jssdk && npm ci --no-audit --no-fund && ALLMENDE_BINARY=$(CURDIR)/bin/allmende npm test

# Not part of test: 50 rounds take some ten minutes on two cores.
soak:
	@deploy/prerequisites.sh postgresql gcc
	ALLMENDE_SOAK=$(SOAK) go test -count=1 -v -timeout 5h -run '^Test(Killed|Stopped|NATSRestarted|PostgreSQLRestarted)' ./internal/testkit/scenario

# go test can fuzz one target at a time.
fuzz:
	@git grep -hoE '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' >/dev/null || exit 0; \
	git grep -oE '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | sed 's/:func /:/' | while IFS=: read -r file name; do \
	  echo "fuzz $$name in $$(dirname $$file)"; \
	  go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5s "./$$(dirname $$file)" </dev/null || exit 1; \
	done

# BENCH=-quick for a short run, BENCH='-only send1,fanout' for some scenarios; see go run ./test/bench -help.
bench:
	@deploy/prerequisites.sh postgresql
	go run ./test/bench $(if $(BENCH),$(BENCH),-write docs/performance.md)

generate:
	go generate ./...

clean:
	rm -rf bin
