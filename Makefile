# Two commands are all that is needed: make rehearse and make test. Both
# install what is missing on a Debian machine, as root.

GO ?= go
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

# For the lab (the list is lab.Packages; a test holds them equal), and for tests.
LAB_PACKAGES  = busybox-static docker-registry git iproute2 mmdebstrap openssh-client systemd-container
BENCH_PACKAGES = ansible-core git openssh-client
TEST_PACKAGES = bash chromium dash fish gawk gcc groff-base libc6-dev libxml2-utils mawk mksh opendoas openssh-server shellcheck sudo tcsh zsh

.PHONY: build package rehearse check test faults bench fuzz lint screenshots clean
# Static, and without what the library for commands has for manual pages. Nothing
# is inlined in GitLab's library: its thousand calls would each have a copy of the
# code that sends them, which makes 2 MB.
BUILD = CGO_ENABLED=0 $(GO) build -trimpath -tags urfave_cli_no_docs -gcflags 'gitlab.com/...=-l'
# Both programs; the rehearsal has one of its own, on Linux.
build:
	$(BUILD) -ldflags '-s -w' -o bin/ ./cmd/...

# A Debian package in dist. It takes no network; the same commit gives the same
# bytes. Releases for other systems are made by .goreleaser.yaml.
VERSION = $(shell git describe --tags --match 'v[0-9]*' 2>/dev/null | sed 's/^v//; s/-/+/' | grep . || git log -1 --date=format:%Y%m%d --format='0~git%cd.%h')
ARCH    = $(shell $(GO) env GOARCH)
package: export SOURCE_DATE_EPOCH = $(shell git log -1 --format=%ct)
package:
	mkdir -p dist/$(ARCH)
	GOARCH=$(ARCH) $(BUILD) -buildvcs=false -o dist/$(ARCH)/ \
		-ldflags '-s -w -buildid= -X "provision/cmd.Version=$(VERSION) (commit $(shell git rev-parse --short=12 HEAD))"' ./cmd/...
	packaging/notices.sh >dist/$(ARCH)/THIRD_PARTY_NOTICES
	NATIVE=dist/$(shell $(GO) env GOHOSTARCH)/provision packaging/deb.sh '$(VERSION)' $(ARCH) dist/$(ARCH) dist

rehearse: lab-packages build
	bin/provision rehearse

# What needs nothing but Go and git. A test that needs more is skipped, which
# go test -v tells; with -short some take a sample.
check: export PROVISION_NO_LAB = 1
check: lint
	$(GO) test -short ./...

# The whole, of which each run draws some: see docs/contributing.md. A test that is
# skipped for something that is missing has failed; with PROVISION_NO_LAB=1 in the
# environment, root and the lab may be missing.
TIMEOUT = 75m
test faults: export PROVISION_TEST_ALL = 1
# With the race detector a program sleeps for a second before it ends; here
# thousands end. Tests that make millions of short strings collect them less often.
test faults: export GORACE = atexit_sleep_ms=0
test faults: export GOGC = 400
test: lab-packages test-packages lint
	$(GO) test -race -timeout $(TIMEOUT) ./...
	$(GO) test -run '^TestAnyPairOfInventories$$' ./steps -pairs 10000
	$(MAKE) fuzz

# All cases of the tests that otherwise draw some: the scripts under each shell, and the
# faults, with an apply and a rotation that are ended at every boundary.
faults: export PROVISION_TEST_EVERY = 1
faults: lab-packages test-packages
	$(GO) test -race -timeout 60m ./templates ./steps
	$(GO) test -race -v -timeout 300m -run 'TestTwoOn|TestTwoIn|TestMeanwhile|TestFaults|TestFull|TestGitLabFaults|TestEnded|TestCutDeploys|TestRotateKilled|TestMoveIsKilled|TestTraps|TestSymlinkRaces|TestOddLogins|TestHostileOutput|TestWrongHosts' ./e2e

# The program against what it costs to log in at all, and to Ansible; pyinfra takes
# part where it is there. For the pure parts: go test -run '^$$' -bench . -count 10
# ./inventory ./provision ./steps, which benchstat reads.
bench: lab-packages bench-packages build
	$(GO) build -o bin/bench ./e2e/bench
	bin/bench bin/provision

# Every fuzz target, for a while: a counterexample stays in testdata/fuzz. Now and
# then go takes the end of that while for a failure; then there is none.
FUZZTIME = 5s
fuzz:
	@grep -r --include='*_test.go' -o '^func Fuzz[A-Za-z]*' . | sort | while IFS=: read -r file target; do \
		echo "fuzz $${target#func } in $${file%/*}"; \
		said=$$($(GO) test -run '^$$' -fuzz "^$${target#func }\$$" -fuzztime $(FUZZTIME) "$${file%/*}" </dev/null 2>&1); status=$$?; \
		printf '%s\n' "$$said"; \
		case $$status$$said in \
		0*) ;; \
		*'Failing input'*) exit 1 ;; \
		*'context deadline exceeded'*) ;; \
		*) exit 1 ;; \
		esac; \
	done

lint:
	@test -z "$$(gofmt -l .)" || { echo 'gofmt wants:'; gofmt -l .; exit 1; }
	$(GO) vet ./...
	GOOS=darwin CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/provision
	$(GO) run $(STATICCHECK) ./...

# The pictures of the documents, from real runs.
screenshots: lab-packages
	$(GO) test -count=1 -run TestScreenshots ./e2e -args -screenshots ../docs/images

clean:
	rm -rf bin dist

.PHONY: lab-packages test-packages bench-packages
lab-packages: PACKAGES = $(LAB_PACKAGES)
test-packages: PACKAGES = $(TEST_PACKAGES)
bench-packages: PACKAGES = $(BENCH_PACKAGES)
lab-packages test-packages bench-packages:
	@missing=; \
	for p in $(PACKAGES); do \
		[ "$$(dpkg-query -W -f '$${db:Status-Status}' "$$p" 2>/dev/null)" = installed ] || missing="$$missing $$p"; \
	done; \
	if [ -n "$$missing" ]; then \
		echo "apt-get install$$missing"; \
		apt-get update -q=2 && DEBIAN_FRONTEND=noninteractive apt-get install -q=2 -y --no-install-recommends $$missing >/dev/null || exit; \
		case $$missing in *docker-registry*) systemctl disable --quiet --now docker-registry 2>/dev/null || :;; esac; \
	fi
