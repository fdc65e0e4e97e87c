package provision

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"provision/provision/hint"
	"provision/provision/secret"
)

// What may be shown of a program is all of it but the secrets, also those of a
// program within it; and no secret is looked at for that.
func TestRedacted(t *testing.T) {
	const canary = "it's a canary\nwith 'two' lines"
	jobs := []job{
		{script: Script{Text: "secret >/dev/null", Secret: secret.New(canary)}},
		{script: Script{Text: "secret >/dev/null", User: "nobody", Secret: secret.New(canary)}},
		{script: Script{Text: "fact id \"$1\"", User: "nobody", Args: []string{"it's an argument"}}, probe: true},
	}
	p, err := newProgram(jobs)
	if err != nil {
		t.Fatal(err)
	}
	quoted, _ := quote(canary)
	shown, _ := quote("(secret)")
	inner, _ := quote(quoted)
	innerShown, _ := quote(shown)
	want := strings.Replace(string(p.text), "_secret="+quoted, "_secret="+shown, 1)
	want = strings.Replace(want, strings.Trim(inner, "'"), strings.Trim(innerShown, "'"), 1)
	if got := p.redacted(); got != want || strings.Contains(got, "canary") || strings.Count(got, "(secret)") != 2 {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	broken := secret.Born(func() (string, error) { t.Error("a secret is looked at"); return "", errors.New("no") })
	(&program{marks: map[string]span{}, inner: map[int]string{}, mark: "@", jobs: []job{{script: Script{Text: "true", Secret: broken}}}}).redacted()
}

// A parrot is a host that answers as its function does.
type parrot func(ctx context.Context, program io.Reader, out io.Writer) error

func (p parrot) Run(ctx context.Context, program io.Reader, out io.Writer) error {
	return p(ctx, program, out)
}

// A host that says what it was sent gives no secret away, neither in the trace
// nor in output or an error.
func TestHostThatRepeatsASecret(t *testing.T) {
	const canary = "glpat-canary-0123456789\nand a second line of it"
	var trace, said []string
	target := Target{Name: "h", Host: parrot(func(_ context.Context, program io.Reader, out io.Writer) error {
		text, _ := io.ReadAll(program)
		mark := strings.Split(strings.Split(string(text), "mark='")[1], "'")[0]
		io.WriteString(out, mark+" begin 0\n"+string(text)+"\n"+mark+" end 0 1\n")
		return nil
	}), Trace: func(sent bool, text string) { trace = append(trace, text) }}
	_, err := run(context.Background(), target, nil, []pending{{"s", Change{Object: "c", Hint: "do it", Do: Script{Text: "secret", Secret: secret.New(canary)}}}}, nil,
		func(e Event) { said = append(said, e.Text) })
	var step *StepError
	if !errors.As(err, &step) || !slices.Equal(hint.Of(err), []string{"do it"}) {
		t.Fatal(err)
	}
	for what, text := range map[string]string{"the trace": strings.Join(trace, "\n"), "the output": strings.Join(said, "\n"), "the error": strings.Join(step.Output, "\n")} {
		if strings.Contains(text, "canary") || strings.Contains(text, "second line") {
			t.Errorf("%s has the secret:\n%s", what, text)
		}
	}
	if n := strings.Count(strings.Join(trace, "\n"), "_secret='(secret)"); n != 2 { // sent, and repeated
		t.Errorf("the trace has the place of the secret %d times", n)
	}
}
