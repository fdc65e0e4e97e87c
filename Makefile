# Two commands are all that is needed: make rehearse and make test. Both
# install what is missing on a Debian machine, as root.

GO ?= go
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

# For the lab (the list is lab.Packages; a test holds them equal), and for tests.
LAB_PACKAGES  = busybox-static docker-registry git iproute2 mmdebstrap openssh-client systemd-container
TEST_PACKAGES = bash dash fish gawk gcc libc6-dev mawk mksh opendoas openssh-server shellcheck sudo tcsh zsh

.PHONY: build rehearse test faults fuzz lint screenshots clean
build:
	$(GO) build -trimpath -o bin/provision ./cmd/provision

rehearse: lab-packages build
	bin/provision rehearse

test: lab-packages test-packages lint
	$(GO) test -race -timeout 60m ./...
	$(MAKE) fuzz
	@$(GO) test -count=1 -run '^$$' -v ./e2e | grep SKIPPED || :

# What takes longer: an apply that is ended at every point, and a machine and a
# GitLab that fail in many ways.
faults: lab-packages test-packages
	$(GO) test -race -v -tags faults -timeout 60m -run 'TestTwoOn|TestTwoIn|TestMeanwhile|TestFaults|TestFull|TestGitLabFaults|TestEnded' ./e2e

# Every fuzz target, for a while: a counterexample stays in testdata/fuzz.
FUZZTIME = 5s
fuzz:
	@grep -r --include='*_test.go' -o '^func Fuzz[A-Za-z]*' . | sort | while IFS=: read -r file target; do \
		echo "fuzz $${target#func } in $${file%/*}"; \
		$(GO) test -run '^$$' -fuzz "^$${target#func }\$$" -fuzztime $(FUZZTIME) "$${file%/*}" </dev/null || exit; \
	done

lint:
	@test -z "$$(gofmt -l .)" || { echo 'gofmt wants:'; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

# The pictures of the documents, from real runs.
screenshots: lab-packages
	$(GO) test -count=1 -run TestScreenshots ./e2e -args -screenshots ../docs/images

clean:
	rm -rf bin

.PHONY: lab-packages test-packages
lab-packages: PACKAGES = $(LAB_PACKAGES)
test-packages: PACKAGES = $(TEST_PACKAGES)
lab-packages test-packages:
	@missing=; \
	for p in $(PACKAGES); do \
		[ "$$(dpkg-query -W -f '$${db:Status-Status}' "$$p" 2>/dev/null)" = installed ] || missing="$$missing $$p"; \
	done; \
	if [ -n "$$missing" ]; then \
		echo "apt-get install$$missing"; \
		apt-get update -q=2 && DEBIAN_FRONTEND=noninteractive apt-get install -q=2 -y --no-install-recommends $$missing >/dev/null || exit; \
		case $$missing in *docker-registry*) systemctl disable --quiet --now docker-registry 2>/dev/null || :;; esac; \
	fi
