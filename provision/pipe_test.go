package provision

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// fed is a shellHost whose programs read from their file descriptor 3.
type fed struct{ *shellHost }

func (h fed) Feed(ctx context.Context, program, in io.Reader, out io.Writer) error {
	text, err := io.ReadAll(program)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", string(text))
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.ExtraFiles = []*os.File{r}
	cmd.Stdout, cmd.Stderr = out, out
	go func() {
		io.Copy(w, in)
		w.Close()
	}()
	err = cmd.Run()
	r.Close()
	if _, ok := err.(*exec.ExitError); ok {
		return nil
	}
	return err
}

// strict is a shellHost that tells how a program ended, and keeps its standard error
// from what it prints, as a connection does.
type strict struct{ *shellHost }

func (h strict) Run(ctx context.Context, program io.Reader, out io.Writer) error {
	cmd := exec.CommandContext(ctx, "sh", "-s")
	cmd.Stdin, cmd.Stdout = program, out
	return cmd.Run()
}

func TestPipe(t *testing.T) {
	dir := t.TempDir()
	from, to := Target{Name: "from", Host: strict{&shellHost{argv: sh}}}, Target{Name: "to", Host: fed{&shellHost{argv: sh}}}
	file := filepath.Join(dir, "a file's name")
	n, facts, err := Pipe(t.Context(), from, Script{Text: `head -c "$1" /dev/zero; echo "$2"`, Args: []string{"3000000", "it's all"}},
		to, Script{Text: `cat <&3 >"$1"; fact last "$(tail -c 9 "$1")"`, Args: []string{file}})
	if err != nil || n != 3_000_009 || facts.Get("last") != "it's all" {
		t.Errorf("%d bytes, %v, %v", n, facts, err)
	}
	for _, tt := range []struct{ name, send, receive, want string }{
		{"the first one fails", `echo some; fail 'no more'`, `cat <&3 >/dev/null`, "from: exit status 1"},
		{"the second one fails", `yes`, `read -r _ <&3; fail 'the disk is full'`, "to: the disk is full"},
	} {
		_, _, err := Pipe(t.Context(), from, Script{Text: tt.send}, to, Script{Text: tt.receive})
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
}
