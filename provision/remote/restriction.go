package remote

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"provision/provision/visible"
)

// An Attempt is something that a deploy key must not do, and that was tried.
type Attempt struct {
	Name    string // always the same, e.g. "agent forwarding"
	Refused bool   // false: the key can do it
	How     string // what the host answered, in one visible line that is not long
}

const (
	// sideBySide is how many sessions attempts have at the same time. sshd(8)
	// lets a connection have ten (MaxSessions of sshd_config(5)), and one that
	// has ended counts until it has noticed. Eight make two turns of all attempts.
	sideBySide = 8

	answerKept = 512 // runes of an answer, for a report

	// refusal begins the line in which the gate says no, with exit status 126.
	refusal = "provision: refused: "
)

// Prove tries what a deploy key must not be able to do, and returns what came
// of it, in an order that is always the same. It is for a connection whose
// forced command is the gate, which [Conn.Ask] can find out before: another
// one may do its work for every attempt.
//
// A command counts as refused only when the gate itself says so, on standard
// error and with exit status 126, and nothing else is printed; of sftp, only
// the status and that nothing is printed can be seen. A request or a channel
// counts as refused when the host answers no. Whatever decides nothing, such as
// another exit status, a lost connection or the end of ctx, is part of the
// error; what was decided is returned beside it. The end of ctx closes the
// connection, and nothing else bounds the wait for a command.
//
// A session without a command is a deploy at the gate, so Prove asks for
// none: its shells are commands, and its requests for a terminal and the like
// go to sessions in which nothing is started. On a host that fails, though, an
// attempt may do what it says: the words "deploy; id" may deploy, and the
// socket that stands in for remote forwarding stays in /tmp.
//
// What it cannot see: sshd(8) gives one answer for a socket that it forbids and
// for one where nobody listens, so of Docker's socket it only tells that it was
// not reached; and forwarding that permitopen or permitlisten of
// authorized_keys allow to other places than those tried.
//
// It can be called once for a connection: sshd(8) says no to a second
// request for the agent even where it allowed the first.
func (c *Conn) Prove(ctx context.Context) ([]Attempt, error) {
	if c.link == nil {
		return nil, errNoGate
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if c.proved.Swap(true) {
		return nil, errors.New("the restriction was tried over this connection already; it takes a new one")
	}
	l := c.link
	undo := context.AfterFunc(ctx, func() {
		l.end(errClosed)
		l.client.Close()
	})
	defer undo()

	tried := make([]Attempt, len(attempts))
	errs := make([]error, len(attempts))
	try := func(i int) {
		tried[i].Name = attempts[i].name
		tried[i].Refused, tried[i].How, errs[i] = attempts[i].try(ctx, l)
	}
	var all sync.WaitGroup
	turns := make(chan struct{}, sideBySide)
	for i := range attempts {
		all.Go(func() {
			if i < len(inSessions) {
				turns <- struct{}{}
				defer func() { <-turns }()
			}
			try(i)
		})
	}
	all.Wait()
	for i := range attempts {
		// Where MaxSessions is lower, there is room for one at a time. A sign
		// of life tells that the host has noticed the end of the one before.
		if errors.As(errs[i], new(*ssh.OpenChannelError)) && l.alive() {
			try(i)
		}
	}

	var decided []Attempt
	var undecided []error
	for i, err := range errs {
		if err != nil {
			undecided = append(undecided, fmt.Errorf("%s: %w", tried[i].Name, err))
			continue
		}
		decided = append(decided, tried[i])
	}
	switch {
	case len(undecided) > 0 && ctx.Err() != nil:
		return decided, ctx.Err()
	case len(undecided) > 0 && !l.alive():
		return decided, l.lost()
	}
	return decided, errors.Join(undecided...)
}

// A try makes one attempt. With an error, the answer decides nothing.
type try func(ctx context.Context, l *link) (refused bool, how string, err error)

// attempts are those of Prove.
var attempts = slices.Concat(inSessions, withoutSession)

type attempt struct {
	name  string
	words string // that the gate is asked for, if they are always the same; else ""
	try   try
}

// words is the attempt to have a command run, which is given its input.
func words(name, text, in string) attempt { return attempt{name, text, start("exec", text, in)} }

// inSessions are the attempts that take a session each. Wherever a shell runs
// the words of one, it ends with status 0, or id(1) says who runs it.
var inSessions = []attempt{
	words("a command", "id", ""),
	words("a shell", "/bin/sh", "id\n"),
	words("an interactive shell", "bash -i", "unset HISTFILE\nid\n"),
	words("an unknown word", "true", ""),
	words("a command after a semicolon", "deploy; id", ""),
	words("a command after a word that succeeds", "status && id || id", ""),
	words("a command in $()", "$(id)", ""),
	words("a command in backquotes", "`id`", ""),
	words("a command in a second line", "status\nid", ""),
	words("a command after a nonce", "verify 00000000000000000000000000000000; id", ""),
	words("scp", "scp -t /tmp", ""),
	// The first packet of the protocol: its length, SSH_FXP_INIT, version 3.
	{"sftp", "", start("subsystem", "sftp", "\x00\x00\x00\x05\x01\x00\x00\x00\x03")},
	{"a terminal", "", request("pty-req", ssh.Marshal(struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}{"xterm", 80, 24, 0, 0, "\x00"}))},
	{"a variable of the environment", "", request("env", ssh.Marshal(struct{ Name, Value string }{"LD_PRELOAD", ""}))},
	{"agent forwarding", "", request("auth-agent-req@openssh.com", nil)},
	{"X11 forwarding", "", request("x11-req", ssh.Marshal(struct {
		Single           bool
		Protocol, Cookie string
		Screen           uint32
	}{false, "MIT-MAGIC-COOKIE-1", "00000000000000000000000000000000", 0}))},
}

// withoutSession are the attempts that take none.
var withoutSession = []attempt{
	{"forwarding to a port", "", channel("direct-tcpip", ssh.Marshal(struct {
		Host       string
		Port       uint32
		Origin     string
		OriginPort uint32
	}{"127.0.0.1", 22, "127.0.0.1", 0}))},
	{"forwarding to Docker's socket", "", channel("direct-streamlocal@openssh.com", ssh.Marshal(struct {
		Path, Reserved string
		ReservedToo    uint32
	}{"/var/run/docker.sock", "", 0}))},
	{"forwarding from a port", "", listenOnPort},
	{"forwarding from a socket", "", listenOnSocket},
}

// Tried reports whether what was logged, each once, is all that [Conn.Prove] asks a gate
// for. The gate logs a question mark for what is not printable.
func Tried(logged []string) bool {
	var want []string
	for _, a := range inSessions {
		if a.words != "" {
			want = append(want, strings.ReplaceAll(a.words, "\n", "?"))
		}
	}
	got := slices.DeleteFunc(slices.Clone(logged), func(words string) bool { // as sshd_config(5) calls it there
		return strings.HasSuffix(words, "sftp-server") || words == "internal-sftp"
	})
	slices.Sort(want)
	slices.Sort(got)
	return len(got) < len(logged) && slices.Equal(got, want)
}

// start starts a command or a subsystem, and gives it its input.
func start(kind, text, in string) try {
	return func(ctx context.Context, l *link) (bool, string, error) {
		var out beginning
		said, err := l.ask(ctx, kind, text, in, &out)
		if errors.Is(err, errDenied) {
			return true, "the request is denied", nil
		} else if err != nil {
			return false, "", err
		}
		how := fmt.Sprintf("exit status %d", said.status)
		for _, text := range []string{visible.Line(string(out)), said.stderr} {
			if text != "" {
				how += ": " + text
			}
		}
		how = visible.Short(how, answerKept)
		switch {
		case said.status == 0 || strings.Contains(string(out)+said.stderr, "uid="):
			return false, how, nil
		case said.status == 126 && len(out) == 0 && (strings.HasPrefix(said.stderr, refusal) || kind == "subsystem"):
			// sshd(8) does not pass on the standard error of a subsystem.
			return true, how, nil
		}
		return false, "", fmt.Errorf("it is neither done nor refused by the gate: %s", how)
	}
}

// request asks for something that would come with a command, and then starts
// none.
func request(kind string, payload []byte) try {
	return func(_ context.Context, l *link) (bool, string, error) {
		session, requests, err := l.client.OpenChannel("session", nil)
		if err != nil {
			return false, "", fmt.Errorf("no session: %w", err)
		}
		defer session.Close()
		l.watches.Go(func() { ssh.DiscardRequests(requests) })
		granted, err := session.SendRequest(kind, true, payload)
		return answered(granted, err)
	}
}

// answered turns the answer to a request into that of an attempt.
func answered(granted bool, err error) (bool, string, error) {
	switch {
	case err != nil:
		return false, "", err
	case granted:
		return false, "the request is granted", nil
	}
	return true, "the request is denied", nil
}

// channel asks the host to connect to something.
func channel(kind string, payload []byte) try {
	return func(_ context.Context, l *link) (bool, string, error) {
		way, requests, err := l.client.OpenChannel(kind, payload)
		if err == nil {
			l.watches.Go(func() { ssh.DiscardRequests(requests) })
			way.Close()
			return false, "the channel is open", nil
		}
		var no *ssh.OpenChannelError
		if !errors.As(err, &no) {
			return false, "", err
		}
		how := visible.Short(fmt.Sprintf("%v: %s", no.Reason, no.Message), answerKept)
		switch {
		case no.Reason == ssh.Prohibited || no.Reason == ssh.UnknownChannelType:
			return true, how, nil
		case no.Reason == ssh.ConnectionFailed && kind == "direct-tcpip":
			return false, how, nil // allowed, though nobody listens
		case no.Reason == ssh.ConnectionFailed:
			return true, how, nil // which sshd(8) says of a forbidden socket, too
		}
		return false, "", err
	}
}

func listenOnPort(_ context.Context, l *link) (bool, string, error) {
	type address struct {
		Host string
		Port uint32
	}
	const host = "127.0.0.1"
	granted, reply, err := l.client.SendRequest("tcpip-forward", true, ssh.Marshal(address{Host: host}))
	if granted && len(reply) == 4 {
		// What is not cancelled ends with the connection.
		_, _, _ = l.client.SendRequest("cancel-tcpip-forward", true,
			ssh.Marshal(address{host, binary.BigEndian.Uint32(reply)}))
	}
	return answered(granted, err)
}

func listenOnSocket(_ context.Context, l *link) (bool, string, error) {
	path := ssh.Marshal(struct{ Path string }{"/tmp/provision-" + rand.Text()})
	granted, _, err := l.client.SendRequest("streamlocal-forward@openssh.com", true, path)
	if granted {
		_, _, _ = l.client.SendRequest("cancel-streamlocal-forward@openssh.com", true, path)
	}
	return answered(granted, err)
}

// A beginning keeps the first bytes that are written to it.
type beginning []byte

func (b *beginning) Write(p []byte) (int, error) {
	*b = append(*b, p[:min(len(p), stderrKept-len(*b))]...)
	return len(p), nil
}
