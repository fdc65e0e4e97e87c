package provision

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"provision/provision/visible"
)

// Bounds of what a host may say.
const (
	maxLine  = 64 << 10 // bytes of one line; the rest of it is dropped
	maxFacts = 50_000   // facts of one program
	maxSaid  = 4 << 20  // bytes of output of one program that are passed on
	maxHeard = 64 << 20 // bytes of all that it says; then it is stopped
	maxLines = 1 << 20  // lines of that, which cost more than their bytes
)

// A result is what became of one job.
type result struct {
	began  bool
	ended  bool
	status int
	facts  Facts
	output []string // the last lines
}

const keepLines = 40

// readers are kept for the next host.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, maxLine) }}

// listen reads what a host answers to a program of n jobs, and tells what
// happens as it goes. Text outside of all jobs is returned as stray. The error
// is about reading only.
func (p *program) listen(r io.Reader, n int, tell func(n int, kind Kind, text string)) (results []result, stray []string, err error) {
	a := &answer{program: p, tell: tell, results: make([]result, n), current: -1}
	lines := readers.Get().(*bufio.Reader)
	defer readers.Put(lines)
	if !p.endless {
		r = &bounded{r, maxHeard}
	}
	lines.Reset(r)
	for heard := 1; ; heard++ {
		line, err := readLine(lines)
		if line == "" && err == io.EOF {
			return a.results, a.stray, nil
		} else if err != nil && err != io.EOF {
			return a.results, a.stray, err
		}
		if heard > maxLines && !p.endless {
			return a.results, a.stray, fmt.Errorf("the host says more than %d lines", maxLines)
		}
		if p.trace != nil {
			p.trace(false, visible.String(p.hide(line)))
		}
		if err := a.hear(line); err != nil {
			return a.results, a.stray, err
		}
	}
}

// An answer is what a host has said so far to a program.
type answer struct {
	*program
	tell    func(n int, kind Kind, text string)
	results []result
	stray   []string

	current int // the job that runs, or -1
	next    int // the job that may begin
	facts   int
	said    int // bytes of output that were passed on
}

// hear takes one line. The error tells that no program of ours says that.
func (a *answer) hear(line string) error {
	before, word, rest, from := a.cut(line)
	if word == "" {
		a.output(line)
		return nil
	}
	if before != "" {
		a.output(before)
	}
	var ok bool
	switch word {
	case "look":
		return a.same(rest)
	case "begin":
		if a.digest != "" && !a.proved {
			return &OutdatedError{}
		}
		ok = a.begin(rest, from)
	case "fact":
		if a.facts++; a.facts > maxFacts {
			return fmt.Errorf("the host reports more than %d facts", maxFacts)
		}
		if !a.fact(rest, from) {
			return fmt.Errorf("the host reports a fact that nobody asked for: %q", visible.String(line))
		}
		return nil
	case "end":
		ok = a.end(rest, from)
	}
	if !ok {
		return fmt.Errorf("unexpected output from host: %q", visible.String(line))
	}
	return nil
}

// output takes a line without a mark.
func (a *answer) output(line string) {
	if line == "" && a.current < 0 {
		return
	}
	line = visible.String(a.hide(line))
	if a.current < 0 {
		a.stray = last(append(a.stray, line))
		return
	}
	r := &a.results[a.current]
	r.output = last(append(r.output, line))
	if a.said += len(line) + 1; a.said <= maxSaid || a.endless {
		a.tell(a.current, Said, line)
	}
}

// begin reports whether the job of that number may begin now.
func (a *answer) begin(number string, from span) bool {
	i, err := strconv.Atoi(number)
	if err != nil || a.current >= 0 || i != a.next || !from.has(i) {
		return false
	}
	a.current, a.next = i, i+1
	a.results[i].began = true
	a.tell(i, Began, "")
	return true
}

// fact reports whether the job that runs may report it.
func (a *answer) fact(text string, from span) bool {
	key, value, ok := strings.Cut(text, "=")
	if !ok || !from.has(a.current) {
		return false
	}
	r := &a.results[a.current]
	if r.facts == nil {
		r.facts = Facts{}
	}
	r.facts.Add(key, value)
	return true
}

// end reports whether the job that runs ends with that number and status.
func (a *answer) end(text string, from span) bool {
	number, status, _ := strings.Cut(text, " ")
	i, err1 := strconv.Atoi(number)
	s, err2 := strconv.Atoi(status)
	if err1 != nil || err2 != nil || i != a.current || !from.has(i) {
		return false
	}
	a.results[i].ended, a.results[i].status = true, s
	a.current = -1
	if s == 0 {
		a.tell(i, Done, "")
	} else {
		a.tell(i, Failed, "")
	}
	return true
}

func (s span) has(job int) bool { return s.from <= job && job < s.to }

// A bounded reader fails where there is more to read than is left.
type bounded struct {
	r    io.Reader
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, fmt.Errorf("the host says more than %d MiB", maxHeard>>20)
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// cut finds a mark in a line. Output that does not end in a newline may stand
// before it; what a user has left unended before the outer mark is such output,
// whatever it looks like.
func (p *program) cut(line string) (before, word, rest string, from span) {
	at := -1
	for mark, s := range p.marks {
		i := strings.Index(line, mark)
		if i <= at {
			continue
		}
		w, r, _ := strings.Cut(line[i+len(mark):], " ")
		switch w {
		case "begin", "fact", "end", "look":
			at, before, word, rest, from = i, line[:i], w, r, s
		}
	}
	return before, word, rest, from
}

// readLine returns one line without its newline, at most maxLine bytes of it.
func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	text := string(bytes.TrimSuffix(line, []byte("\n")))
	for err == bufio.ErrBufferFull {
		_, err = r.ReadSlice('\n')
	}
	if err == io.EOF && text != "" {
		return text, nil
	}
	return text, err
}

func last(lines []string) []string {
	if len(lines) > keepLines {
		return lines[len(lines)-keepLines:]
	}
	return lines
}
