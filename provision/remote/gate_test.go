package remote

import (
	"bytes"
	"context"
	"errors"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"

	"provision/provision/secret"
)

func TestAsk(t *testing.T) {
	h := newDeployHost(t)
	c := h.dial(t, deployer, `restrict,command="/bin/sh DIR/stub"`)
	for words, want := range map[string]string{"": "deployed\n", "deploy": "deployed\n", "input": "at the end\n"} {
		var out bytes.Buffer
		if err := c.Ask(t.Context(), words, &out); err != nil || out.String() != want {
			t.Errorf("Ask(%q) = %q, %v; want %q", words, &out, err, want)
		}
	}
	var exit *ExitError
	if err := c.Ask(t.Context(), "status", &bytes.Buffer{}); !errors.As(err, &exit) || exit.Status != 3 {
		t.Errorf("Ask = %v, want exit status 3", err)
	}
	var out bytes.Buffer
	err := c.Ask(t.Context(), "flood", &out)
	if !errors.As(err, &exit) || exit.Status != 7 || !strings.HasSuffix(exit.Stderr, `\x1bend`) ||
		len(exit.Stderr) > 4*stderrKept || out.Len() != 100000 {
		t.Errorf("Ask = %d bytes, %.80v", out.Len(), err)
	}
	if err := c.Ask(t.Context(), "deploy", brokenWriter{}); !errors.Is(err, errBroken) {
		t.Errorf("Ask = %v, want the writer's error", err)
	}
	if err := c.Ask(t.Context(), "deploy; id", &out); !errors.As(err, &exit) || *exit != (ExitError{126, "provision: refused: nothing else"}) {
		t.Errorf("Ask = %v", err)
	}
	if err := (&Conn{}).Ask(t.Context(), "deploy", &out); err != errNoGate {
		t.Errorf("Ask on this machine = %v", err)
	}
}

// The gate itself says no in the words that Prove looks for.
func TestAskTheGate(t *testing.T) {
	h := newDeployHost(t)
	c := h.dial(t, deployer, `restrict,command="GATE"`)
	var exit *ExitError
	err := c.Ask(t.Context(), "verify "+strings.Repeat("0", 32), &bytes.Buffer{})
	if !errors.As(err, &exit) || exit.Status != 126 || !strings.HasPrefix(exit.Stderr, refusal) {
		t.Errorf("Ask = %v", err)
	}
}

// A writer that tells when it is first written to.
type firstWord chan struct{}

func (w firstWord) Write(p []byte) (int, error) {
	select {
	case w <- struct{}{}:
	default:
	}
	return len(p), nil
}

func TestAskIsCancelled(t *testing.T) {
	h := newDeployHost(t)
	c := h.dial(t, deployer, `restrict,command="/bin/sh DIR/stub"`)
	ctx, cancel := context.WithCancel(t.Context())
	started := make(firstWord, 1)
	done := make(chan error, 1)
	go func() { done <- c.Ask(ctx, "slow", started) }()
	<-started
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Ask = %v", err)
	}
	// Neither this nor a ctx that has ended before costs the connection.
	if err := c.Ask(ctx, "deploy", &bytes.Buffer{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Ask = %v", err)
	}
	if err := c.Ask(t.Context(), "deploy", &bytes.Buffer{}); err != nil {
		t.Errorf("the next Ask = %v", err)
	}
}

func TestAskOverDroppedLink(t *testing.T) {
	h := newDeployHost(t)
	r := newRelayTo(t, h.port)
	target := h.target(t, deployer, `restrict,command="/bin/sh DIR/stub"`)
	target.Port = r.port
	c := dialKey(t, newDialer(t, ""), target)
	started := make(firstWord, 1)
	done := make(chan error, 1)
	go func() { done <- c.Ask(t.Context(), "slow", started) }()
	<-started
	r.cut()
	if err := <-done; !errors.Is(err, ErrLost) {
		t.Errorf("Ask = %v", err)
	}
	if err := c.Ask(t.Context(), "deploy", &bytes.Buffer{}); !errors.Is(err, ErrLost) {
		t.Errorf("the next Ask = %v", err)
	}
}

// An output that has not ended is not all of the output.
func TestAskLeftBehind(t *testing.T) {
	h := newDeployHost(t)
	c := h.dial(t, deployer, `restrict,command="/bin/sh DIR/stub"`)
	var out bytes.Buffer
	err := c.Ask(t.Context(), "left", &out)
	if !errors.Is(err, errUnended) {
		t.Errorf("Ask = %v", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(out.String()))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("what was left behind is gone: %v", err)
	}
}

// With a key in the Target, no other is offered: the host would let in all
// that the agent, the key files and ssh_config(5) have.
func TestOnlyTheKey(t *testing.T) {
	needLab(t)
	a := newAgent(t)
	a.hold(t, lab.key)
	config := "IdentityAgent " + a.socket + "\nIdentityFile " + lab.key + "\n"
	_, private := newKey()
	target := labTarget("free", Sudo)
	target.Key = secret.New(private)
	_, err := newDialer(t, config).Dial(t.Context(), target)
	signer, parseErr := ssh.ParsePrivateKey([]byte(private))
	if parseErr != nil {
		t.Fatal(parseErr)
	}
	var refusal *AuthError
	if !errors.As(err, &refusal) || len(refusal.Tried) != 1 || !strings.HasSuffix(refusal.Tried[0], fingerprint(signer.PublicKey())) || len(refusal.Unused) > 0 || strings.Contains(told(err), "hint: ") {
		t.Errorf("with a key that is not let in, Dial = %v", err)
	}
	if a.dialed.Load() != 0 {
		t.Error("the agent was asked")
	}

	text, err := os.ReadFile(lab.key)
	if err != nil {
		t.Fatal(err)
	}
	target.Key, target.Identity = secret.New(string(text)), "/nowhere/id"
	c, err := newDialer(t, "IdentityFile none\n").Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestKeysThatAreNone(t *testing.T) {
	needLab(t)
	encrypted, err := os.ReadFile(encrypt(t, lab.key, "open sesame"))
	if err != nil {
		t.Fatal(err)
	}
	for want, key := range map[string]secret.Value{
		"has a passphrase":       secret.New(string(encrypted)),
		"is not one in PEM":      secret.New("-----BEGIN hush-----\nhush"),
		secret.ErrEmpty.Error():  secret.Born(nil),
		"not one in PEM\nhint: ": secret.New("-----BEGIN hush-----\naHVzaA==\n-----END hush-----\n"),
	} {
		target := labTarget("free", Sudo)
		target.Key = key
		_, err := newDialer(t, "").Dial(t.Context(), target)
		if err == nil || !strings.Contains(told(err), want) || strings.Contains(told(err), "hush") {
			t.Errorf("Dial = %v, want %q", err, want)
		}
	}
}

// Whatever becomes of a question and of the attempts, nothing of them stays.
func TestGateLeaksNothing(t *testing.T) {
	h := newDeployHost(t)
	t.Run("group", func(t *testing.T) {
		for _, options := range []string{`restrict,command="GATE"`, `restrict,command="/bin/sh DIR/stub"`, ``} {
			c := h.dial(t, deployer, options)
			_ = c.Ask(t.Context(), "status", &bytes.Buffer{})
			_, _ = c.Prove(t.Context())
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, _ = c.Prove(ctx)
			c.Close()
		}
	})
	for leaked() != "" {
		runtime.Gosched()
	}
}
