package remote

import (
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"provision/provision/visible"
)

// stderrKept is how much of standard error is kept for errors: its end.
const stderrKept = 8 << 10

// A run is one program under way: its shell, and the goroutines around the
// streams of that.
type run struct {
	shell      *shell
	prompt     string
	ready      chan struct{} // closed when the wrapper runs
	spoken     chan struct{} // closed when the program has printed something, or cannot any more
	prompts    chan struct{} // one value for each time that sudo asks
	unwritable chan error    // why out takes no more

	started bool // the program was sent
	writes  chan []byte
	hangUp  func()        // ends the standard input of the shell
	speak   func()        // closes spoken
	copied  chan struct{} // closed when out and stderr have ended

	printed atomic.Int64 // bytes that out has got
	busy    atomic.Bool  // out is being written to

	mu     sync.Mutex
	out    io.Writer // nil once nothing may be written any more
	stderr []byte
}

func newRun(sh *shell, out io.Writer, prompt string) *run {
	r := &run{
		shell: sh, out: out, prompt: prompt,
		ready:      make(chan struct{}),
		spoken:     make(chan struct{}),
		prompts:    make(chan struct{}, 8),
		unwritable: make(chan error, 1),
		writes:     make(chan []byte, 2),
		copied:     make(chan struct{}),
	}
	r.hangUp = sync.OnceFunc(func() { close(r.writes) })
	r.speak = sync.OnceFunc(func() { close(r.spoken) })
	go func() {
		for b := range r.writes {
			// A shell that ends early does not read on; its status tells why.
			_, _ = sh.in.Write(b)
		}
		sh.in.Close()
	}()
	go func() {
		defer close(r.copied)
		var both sync.WaitGroup
		both.Go(func() { r.copy(sh.out, r.print) })
		both.Go(func() { r.copy(sh.stderr, r.listen) })
		both.Wait()
	}()
	return r
}

// send queues what the shell reads next.
func (r *run) send(b []byte) { r.writes <- b }

// start sends the program.
func (r *run) start(program []byte) {
	r.started = true
	r.send(program)
}

// feed gives the shell what the program reads, once that runs.
func (r *run) feed(in io.Reader) {
	<-r.spoken
	// A program that ends early does not read on; its status tells why.
	_, _ = io.CopyBuffer(struct{ io.Writer }{r.shell.in}, in, make([]byte, 256<<10))
	r.hangUp()
}

// close lets go of out; the goroutines end with the streams.
func (r *run) close() {
	r.hangUp()
	r.speak()
	r.mu.Lock()
	r.out = nil
	r.mu.Unlock()
}

// drain waits for the last output of a shell that has ended, however slowly it is
// taken.
func (r *run) drain() {
	clock := time.NewTicker(draining)
	defer clock.Stop()
	for was := r.printed.Load(); ; {
		select {
		case <-r.copied:
			return
		case <-clock.C:
		}
		now := r.printed.Load()
		if now == was && !r.busy.Load() {
			return
		}
		was = now
	}
}

// buffers are kept for the next program.
var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

func (r *run) copy(from io.Reader, to func([]byte)) {
	kept := buffers.Get().(*[]byte)
	defer buffers.Put(kept)
	buffer := *kept
	for {
		n, err := from.Read(buffer)
		to(buffer[:n])
		if err != nil {
			return
		}
	}
}

// print passes output on. A writer that fails is not written to again, but
// the stream is read on: the shell must not block before it is stopped.
func (r *run) print(b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.out == nil || len(b) == 0 {
		return
	}
	r.speak()
	r.busy.Store(true)
	n, err := r.out.Write(b)
	r.busy.Store(false)
	r.printed.Add(int64(n))
	if err != nil {
		r.out = nil
		r.unwritable <- err
	}
}

// listen reads standard error. Up to the wrapper's first word it looks for the
// prompt of sudo; after that nothing is taken for a prompt, so no program can
// ask for the password.
func (r *run) listen(b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stderr = append(r.stderr, b...)
	for !r.isReady() {
		word, prompt := strings.Index(string(r.stderr), readyLine), -1
		if r.prompt != "" {
			prompt = strings.Index(string(r.stderr), r.prompt)
		}
		switch {
		case prompt >= 0 && (word < 0 || prompt < word):
			r.stderr = slices.Delete(r.stderr, prompt, prompt+len(r.prompt))
			select {
			case r.prompts <- struct{}{}:
			default: // nobody answers so many
			}
			continue
		case word >= 0:
			// What was said before is a lecture, or a greeting.
			r.stderr = slices.Delete(r.stderr, 0, word+len(readyLine))
			close(r.ready)
		}
		break
	}
	if extra := len(r.stderr) - stderrKept; extra > 0 {
		r.stderr = slices.Delete(r.stderr, 0, extra)
	}
}

// isReady reports whether the wrapper runs.
func (r *run) isReady() bool {
	select {
	case <-r.ready:
		return true
	default:
		return false
	}
}

// said returns the end of standard error.
func (r *run) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return visible.Line(string(r.stderr))
}
