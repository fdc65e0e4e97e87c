package provision

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"provision/provision/visible"
)

// A Lock keeps two runs from changing the same host at the same time. It is
// held by a process on the host that ends with the connection, so one that
// belongs to a dead run does not exist.
type Lock struct {
	// Hold runs a program on the host as [Host].Run does, beside others. It is
	// no trip: the changes are sent at the same time, and wait on the host.
	Hold func(ctx context.Context, program io.Reader, out io.Writer) error

	Owner string        // whoever is told: who holds it, from where and since when
	Wait  time.Duration // for one that is held by another run
}

// A LockedError tells that another run is changing the host.
type LockedError struct{ Owner string }

func (e *LockedError) Error() string {
	return "locked by " + visible.String(e.Owner)
}

// Hint implements [hint.Error].
func (*LockedError) Hint() string { return "run again later, or let --lock-wait 10m wait for it" }

// lastRun is the step that looks which run was the last to hold the lock.
type lastRun struct{}

func (lastRun) Name() string { return "lock" }

func (lastRun) Probe() Probe {
	return Probe{Script: Script{Text: `
run=''
if [ -e /run/provision.lock ]; then
	read -r run </run/provision.lock || :
	flock -s -n /run/provision.lock true || run='one that is under way'
fi
fact run "$run"
`}}
}

func (lastRun) Plan(Facts) ([]Change, error) { return nil, nil }

// lockScript holds the lock until its shell is ended. $1 tells this run from
// others, $2 is its owner, $3 is how many seconds to wait, and $4 is the run
// that was the last to hold it when this one looked.
//
// A user who may read a file may lock it, so nobody else may.
const lockScript = `
umask 077
exec 8>>/run/provision.lock
chmod 600 /run/provision.lock
if ! flock -w 1 8; then # whoever looks has it for a moment
	fact held "$(sed 1d /run/provision.lock)"
	flock -w "$3" 8 || return 0
fi
run=''
read -r run </run/provision.lock || :
[ "$run" = "$4" ] || {
	fact waited yes
	set -- "$1 waited" "$2"
}
printf '%s\n%s\n' "$1" "$2" >/run/provision.lock
fact locked yes
while :; do
	sleep 3600
done
`

// lockedScript waits until the lock is held by this run. If another run held it
// meanwhile, this waits until it is ended: what it would change was planned
// before that run was through.
const lockedScript = `
until [ "$(sed 1q /run/provision.lock 2>/dev/null)" = "$1" ]; do
	sleep 0.02
done
`

// A heldLock is a lock that is being taken, or is held.
type heldLock struct {
	id       string
	locked   chan struct{} // closed when it is held
	waited   bool          // another run has held it since this one looked
	refused  chan struct{} // closed when it cannot be had; err says why
	err      error
	used     bool // changes were sent with it
	release  context.CancelFunc
	released chan struct{}
}

// take begins to take the lock. It returns at once.
func (l *Lock) take(ctx context.Context, t Target, last string) (*heldLock, error) {
	h := &heldLock{id: strings.TrimPrefix(newMark(), "@"), locked: make(chan struct{}), refused: make(chan struct{}), released: make(chan struct{})}
	seconds := strconv.Itoa(int(l.Wait / time.Second))
	prog, err := newProgram([]job{{script: Script{Text: lockScript, Args: []string{h.id, l.Owner, seconds, last}}, probe: true}})
	if err != nil {
		return nil, at(t.Name, err)
	}
	prog.send(t.Trace)
	ctx, h.release = context.WithCancel(ctx)
	out, in := io.Pipe()
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		h.listen(prog, out)
		io.Copy(io.Discard, out)
	}()
	go func() {
		defer close(h.released)
		err := l.Hold(ctx, strings.NewReader(string(prog.text)), in)
		in.Close()
		<-heard
		if !h.isLocked() {
			if h.err == nil {
				h.err = errors.Join(errors.New("the lock of the host cannot be had"), err)
			}
			close(h.refused)
		}
	}()
	return h, nil
}

// listen hears whether the lock is held, and by whom.
func (h *heldLock) listen(prog *program, out io.Reader) {
	lines := bufio.NewReaderSize(out, maxLine)
	for {
		line, err := readLine(lines)
		if err != nil {
			return
		}
		if prog.trace != nil {
			prog.trace(false, visible.String(line))
		}
		_, word, rest, _ := prog.cut(line)
		key, value, _ := strings.Cut(rest, "=")
		switch {
		case word == "fact" && key == "held":
			h.err = &LockedError{value}
		case word == "fact" && key == "waited":
			h.waited = true
		case word == "fact" && key == "locked":
			close(h.locked)
			return
		}
	}
}

func (h *heldLock) isLocked() bool {
	select {
	case <-h.locked:
		return true
	default:
		return false
	}
}

// errWaited tells that the lock is held, but what was seen before that may be
// another run's work in progress.
var errWaited = errors.New("another run was under way")

// wait returns when the lock is held, or with the reason why it is not. A nil
// heldLock is no lock.
func (h *heldLock) wait(ctx context.Context) error {
	if h == nil {
		return nil
	}
	select {
	case <-h.locked:
		if h.waited && !h.used {
			h.used = true
			return errWaited
		}
		h.used = true
		return nil
	case <-h.refused:
		return h.err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the lock: %w", ctx.Err())
	}
}

// script returns what a program has to run before its changes.
func (h *heldLock) script() []Script {
	if h == nil || h.used {
		return nil
	}
	return []Script{{Text: lockedScript, Args: []string{h.id}}}
}

// guard runs a program with the changes of a round in it, and ends it if the
// lock cannot be had.
func (h *heldLock) guard(ctx context.Context, run func(context.Context) error) error {
	if h == nil || h.used {
		return run(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	verdict := make(chan error, 1)
	go func() {
		err := h.wait(ctx)
		if err != nil {
			cancel()
		}
		verdict <- err
	}()
	err := run(ctx)
	cancel()
	if why := <-verdict; why != nil && (errors.Is(why, errWaited) || h.err != nil) {
		return why
	}
	return err
}

// end lets the lock go, and waits until it is gone.
func (h *heldLock) end() {
	h.release()
	<-h.released
}
