package remote

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// Names of attempts that go together.
var (
	commands = []string{"a command", "a shell", "an interactive shell", "an unknown word", "a command after a semicolon",
		"a command after a word that succeeds", "a command in $()", "a command in backquotes", "a command in a second line",
		"a command after a nonce", "scp"}
	forwardings = []string{"forwarding to a port", "forwarding to Docker's socket", "forwarding from a port", "forwarding from a socket"}
	others      = []string{"sftp", "a terminal", "a variable of the environment", "agent forwarding", "X11 forwarding"}
)

func TestProve(t *testing.T) {
	h := newDeployHost(t)
	gate := `command="GATE"`
	for _, test := range []struct {
		name, user, options string
		breached, undecided []string
	}{
		{name: "restricted", options: "restrict," + gate},
		{name: "one session at a time", user: narrow, options: "restrict," + gate},

		{name: "no restrict", options: gate, breached: slices.Concat(forwardings, []string{"a terminal", "agent forwarding", "X11 forwarding"})},
		{name: "a terminal", options: "restrict,pty," + gate, breached: []string{"a terminal"}},
		{name: "forwarding", options: "restrict,port-forwarding," + gate, breached: forwardings},
		{name: "the agent", options: "restrict,agent-forwarding," + gate, breached: []string{"agent forwarding"}},
		{name: "X11", options: "restrict,X11-forwarding," + gate, breached: []string{"X11 forwarding"}},
		{name: "variables", user: lenient, options: "restrict," + gate, breached: []string{"a variable of the environment"}},
		{name: "no command", options: "restrict", breached: append([]string{"sftp"}, commands...)},
		{name: "no options", user: narrow, options: "", breached: slices.Concat(commands, forwardings, []string{"sftp", "a terminal", "agent forwarding", "X11 forwarding"})},
		{name: "words are evaluated", options: `restrict,command="/bin/sh DIR/eval"`, breached: []string{"a command after a semicolon",
			"a command after a word that succeeds", "a command in a second line", "a command after a nonce"}},
		{name: "all is evaluated", options: `restrict,command="eval \"$SSH_ORIGINAL_COMMAND\""`, breached: commands, undecided: []string{"sftp"}},
		{name: "only sftp", options: `restrict,command="internal-sftp"`, breached: []string{"sftp"}, undecided: commands},
		{name: "anything succeeds", options: `restrict,command="true"`, breached: append([]string{"sftp"}, commands...)},

		{name: "no gate", options: `restrict,command="/nowhere/gate"`, undecided: append([]string{"sftp"}, commands...)},
		{name: "another's refusal", options: `restrict,command="exit 126"`, undecided: commands},
		{name: "more than a refusal", options: `restrict,command="/bin/sh DIR/echo"`, undecided: append([]string{"sftp"}, commands...)},
		{name: "killed", options: `restrict,command="kill -9 $$"`, undecided: append([]string{"sftp"}, commands...)},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.user == "" {
				test.user = deployer
			}
			c := h.dial(t, test.user, test.options)
			attempts, err := c.Prove(t.Context())
			var breached, decided []string
			for _, a := range attempts {
				decided = append(decided, a.Name)
				if !a.Refused {
					breached = append(breached, a.Name)
				}
				if a.How == "" || len(a.How) > answerKept+10 || strings.ContainsFunc(a.How, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' }) {
					t.Errorf("%s: it answered %q", a.Name, a.How)
				}
			}
			var undecided []string
			for _, name := range slices.Concat(commands, forwardings, others) {
				if !slices.Contains(decided, name) {
					undecided = append(undecided, name)
					if err == nil || !strings.Contains("\n"+err.Error(), "\n"+name+": ") {
						t.Errorf("%s is not decided, and Prove says %v", name, err)
					}
				}
			}
			for _, list := range [][]string{breached, undecided, test.breached, test.undecided} {
				slices.Sort(list)
			}
			if !slices.Equal(breached, test.breached) || !slices.Equal(undecided, test.undecided) || (err != nil) != (undecided != nil) {
				t.Errorf("can do %q\nwant %q\nundecided %q\nwant %q\n%v\n%+v", breached, test.breached, undecided, test.undecided, err, attempts)
			}
			if len(decided)+len(undecided) != len(slices.Concat(commands, forwardings, others)) {
				t.Errorf("%d attempts and %d undecided", len(decided), len(undecided))
			}
		})
	}
}

// The agent is asked for once: a second time would look like a refusal.
func TestProveTwice(t *testing.T) {
	h := newDeployHost(t)
	c := h.dial(t, deployer, `restrict,agent-forwarding,command="GATE"`)
	if _, err := c.Prove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if attempts, err := c.Prove(t.Context()); err == nil || len(attempts) > 0 {
		t.Errorf("the second Prove = %+v, %v", attempts, err)
	}
	if attempts, err := (&Conn{}).Prove(t.Context()); err == nil || len(attempts) > 0 {
		t.Errorf("Prove on this machine = %+v, %v", attempts, err)
	}
}

// No answer is no refusal, whatever the reason.
func TestProveUnanswered(t *testing.T) {
	h := newDeployHost(t)
	for name, test := range map[string]struct {
		stop func(r *relay, cancel func())
		want error
	}{
		"cancelled": {func(_ *relay, cancel func()) { cancel() }, context.Canceled},
		"cut":       {func(r *relay, _ func()) { r.cut() }, ErrLost},
		"silent":    {func(r *relay, _ func()) { r.freeze() }, ErrLost},
	} {
		t.Run(name, func(t *testing.T) {
			f := h.newFifo(t)
			r := newRelayTo(t, h.port)
			target := h.target(t, deployer, `restrict,command="exec 9<>`+f.path+`; read -r _ <DIR/hold"`)
			target.Port = r.port
			d := newDialer(t, "")
			d.Silence = 2 * time.Second
			c := dialKey(t, d, target)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			type result struct {
				attempts []Attempt
				err      error
			}
			done := make(chan result, 1)
			go func() {
				attempts, err := c.Prove(ctx)
				done <- result{attempts, err}
			}()
			f.opened(t)
			test.stop(r, cancel)
			got := <-done
			if !errors.Is(got.err, test.want) || strings.Contains(got.err.Error(), "a command") {
				t.Errorf("Prove = %v, want %v, once", got.err, test.want)
			}
			for _, a := range got.attempts {
				if slices.Contains(commands, a.Name) || a.Name == "sftp" {
					t.Errorf("decided: %+v", a)
				}
			}
		})
	}
}
