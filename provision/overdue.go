package provision

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// How long a look may take. A host that looks at itself answers within seconds; what
// hangs there, such as a file system or a program of its user, shall not hang whoever asks.
const (
	lookSilence = 3 * time.Minute  // without a word
	lookWhole   = 15 * time.Minute // in all
)

// An overdueError tells that a look has taken too long.
type overdueError struct{ silence, whole time.Duration }

func (e *overdueError) Error() string {
	if e.silence > 0 {
		return fmt.Sprintf("the host has said nothing for %v, and was not waited for", e.silence)
	}
	return fmt.Sprintf("the host has not ended within %v, and was not waited for", e.whole)
}

// Hint implements [hint.Error].
func (*overdueError) Hint() string {
	return "see what it waits for there, as root: ps -eo user,etime,args --forest"
}

// A lookLimit ends a trip whose look takes too long: from the first probe on, as changes may take
// their time and say nothing.
type lookLimit struct {
	cancel context.CancelCauseFunc

	mu             sync.Mutex
	silence, whole *time.Timer // nil: not yet
}

// limitLook returns a context that ends with an [overdueError].
func limitLook(ctx context.Context) (context.Context, *lookLimit) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &lookLimit{cancel: cancel}
}

// begin says that from now on all is a look. Whether somebody has yet to type a password is
// not known before the host has said something.
func (l *lookLimit) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.whole == nil {
		l.whole = time.AfterFunc(lookWhole, func() { l.cancel(&overdueError{whole: lookWhole}) })
	}
}

// heard says that the host has said something.
func (l *lookLimit) heard() {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.whole == nil: // changes are made
	case l.silence == nil:
		l.silence = time.AfterFunc(lookSilence, func() { l.cancel(&overdueError{silence: lookSilence}) })
	default:
		l.silence.Reset(lookSilence)
	}
}

// end says that the trip is over.
func (l *lookLimit) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range []*time.Timer{l.silence, l.whole} {
		if t != nil {
			t.Stop()
		}
	}
	l.cancel(nil)
}

// writer returns out, which hears what the host says.
func (l *lookLimit) writer(out io.Writer) io.Writer { return heardBy{out, l} }

type heardBy struct {
	io.Writer
	limit *lookLimit
}

func (h heardBy) Write(p []byte) (int, error) {
	h.limit.heard()
	return h.Writer.Write(p)
}
