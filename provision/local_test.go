package provision

import (
	"context"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
)

// shellHost runs programs in a shell of this machine.
type shellHost struct {
	argv    []string
	replace []string // old, new, …: in the text of programs
	trips   atomic.Int32
}

func (h *shellHost) Run(ctx context.Context, program io.Reader, out io.Writer) error {
	h.trips.Add(1)
	text, err := io.ReadAll(program)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, h.argv[0], h.argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(strings.NewReplacer(h.replace...).Replace(string(text))), out, out
	err = cmd.Run()
	if _, ok := err.(*exec.ExitError); ok {
		return nil
	}
	return err
}

// A liar is a host that answers whatever it likes. It is told the marks of
// the program, the outer one first.
type liar func(ctx context.Context, marks []string, out io.Writer) error

var markLine = regexp.MustCompile(`mark='+(?:\\'')?(@[0-9a-f]{32})`)

func (l liar) Run(ctx context.Context, program io.Reader, out io.Writer) error {
	text, err := io.ReadAll(program)
	if err != nil {
		return err
	}
	var marks []string
	for _, m := range markLine.FindAllSubmatch(text, -1) {
		marks = append(marks, string(m[1]))
	}
	return l(ctx, marks, out)
}

// says is a host that prints some lines, in which MARK and INNER stand for the
// marks of the program, and then ends with err.
func says(lines string, err error) liar {
	return func(_ context.Context, marks []string, out io.Writer) error {
		words := []string{"MARK", marks[0]}
		if len(marks) > 1 {
			words = append(words, "INNER", marks[1])
		}
		io.WriteString(out, strings.NewReplacer(words...).Replace(lines))
		return err
	}
}
