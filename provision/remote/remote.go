// Package remote reaches hosts: one SSH connection per host, over which
// programs run in root shells.
//
// # Who is believed
//
// A host must show a key that is pinned in the [Target] or that the
// known_hosts files hold. There is no first use that is trusted in silence,
// whatever ssh_config(5) says of StrictHostKeyChecking. See [HostKeyError].
//
// # What runs on the host
//
// The command that the login shell of the host is given is a constant, see
// wrapper. Programs, secrets and passwords travel on its standard input. A
// program starts only when all of it has arrived, and it is stopped when the
// connection ends, whichever side that comes from.
package remote

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"provision/provision/remote/sshconfig"
	"provision/provision/secret"
)

// A Target says how to reach one host.
type Target struct {
	Name    string // what errors call the host
	Address string // a host name, an IP address or an alias of ssh_config(5)

	// The zero values leave it to ssh_config(5), and else to port 22, the
	// name of the user who runs the program, and the usual key files.
	Port     int
	User     string
	Identity string // a key file; the agent may hold its private half

	// Key is a private key in PEM. Where it is set it is the only one that the
	// host is offered: no agent, no key file, nothing that ssh_config(5) names.
	// Jump hosts are not offered it.
	Key secret.Value

	// HostKeys are the only keys that the host may show, written as
	// "ssh-ed25519 AAAA…" or "@cert-authority ssh-ed25519 AAAA…". Without
	// any, the known_hosts files decide.
	HostKeys []string

	// Local is this machine, without SSH.
	Local bool

	// Become says how the user of the connection becomes root. For the user
	// root there is nothing to become, and this is not looked at.
	Become Become

	// Password gives the password that sudo(8) wants. It is called only when
	// sudo prompts, once for each run, so the caller should remember what a
	// person typed. A nil Password means that sudo must not ask for one.
	Password func(context.Context) (secret.Value, error)
}

// Become is a way to become root.
type Become string

const (
	Sudo Become = "sudo"
	Doas Become = "doas" // never with a password: doas(1) reads one only from a terminal
	None Become = "none" // the user is root already
)

// A Dialer holds what the connections of one run share: settings, keys that
// were unlocked, and connections to jump hosts. The zero Dialer is ready for
// use, and all methods may be called from many goroutines. The fields must not
// change after the first call.
type Dialer struct {
	// Config is what ssh_config(5) says. Nil stands for the user's own.
	Config *sshconfig.Config

	// Passphrase gives the passphrase of an encrypted key file. It is called
	// once for each file, when a host has said that it would accept the key,
	// and never twice at the same time. With a nil Passphrase such files
	// are of use only through an agent.
	Passphrase func(ctx context.Context, file string) (secret.Value, error)

	// Connect bounds the way to an open port; ConnectTimeout of
	// ssh_config(5) goes before it. Zero means 10 seconds.
	Connect time.Duration

	// Handshake bounds the key exchange and authentication, and afterwards
	// the wait for sudo's first word. It does not run while a person is
	// asked. Zero means 30 seconds.
	Handshake time.Duration

	// Silence is how long a connected host may fail to answer before the
	// connection counts as lost. Zero means 60 seconds.
	Silence time.Duration

	// Trace, if it is not nil, is told what is done to reach a host, and how
	// each session ended. Calls may overlap.
	Trace func(host, text string)

	connections, runs atomic.Int64

	mu    sync.Mutex
	jumps map[string]*jump
	turns map[string]chan struct{}

	ownConfig sshconfig.Config // where Config is nil

	keys keyring
}

// passphrase is the type of Dialer.Passphrase.
type passphrase = func(ctx context.Context, file string) (secret.Value, error)

// Connections returns how many SSH connections were opened, those to jump
// hosts included.
func (d *Dialer) Connections() int { return int(d.connections.Load()) }

// Runs returns how many programs were sent, or about to be, on all
// connections and on this machine.
func (d *Dialer) Runs() int { return int(d.runs.Load()) }

func (d *Dialer) connect() time.Duration   { return orElse(d.Connect, 10*time.Second) }
func (d *Dialer) handshake() time.Duration { return orElse(d.Handshake, 30*time.Second) }
func (d *Dialer) silence() time.Duration   { return orElse(d.Silence, 60*time.Second) }

// trace traces something that has to do with a host; of an error, the reason.
func (d *Dialer) trace(host, what string, err error) {
	switch {
	case d.Trace == nil:
	case err != nil:
		d.Trace(host, what+": "+err.Error())
	default:
		d.Trace(host, what)
	}
}

func orElse(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

// withHint adds a line that says what the reader can do.
func withHint(err error, format string, args ...any) error {
	return fmt.Errorf("%w\nhint: %s", err, fmt.Sprintf(format, args...))
}
