package provision

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"provision/provision/visible"
)

// What a host that lies can do is to make its own trip fail.
func TestLies(t *testing.T) {
	const wrong = "h: a: look: " + "the connection ended before the host said how it went; it may or may not be done (unexpected output from host: "
	tests := []struct {
		name, says, err string
	}{
		{"the truth", "MARK begin 0\nMARK fact k=v\nMARK end 0 0\nMARK begin 1\nINNER begin 1\n", ""},
		{"nothing", "", "h: the host did not run it"},
		{"something else", "motd\nsudo: a \x1b[2Jpassword is required\n", `h: the host did not run it, but said: sudo: a \x1b[2Jpassword is required`},
		{"a fact outside of all probes", "MARK fact k=v\n", "h: the host reports a fact that nobody asked for"},
		{"a fact after the end", "MARK begin 0\nMARK end 0 0\nMARK fact k=v\n", "h: b: look: the host reports a fact that nobody asked for"},
		{"a fact without a value", "MARK begin 0\nMARK fact k\nMARK end 0 0\nINNER begin 1\nINNER end 1 0\n", "h: a: look: the connection ended before the host said how it went; it may or may not be done (the host reports a fact that nobody asked for: "},
		{"an end without a begin", "MARK end 0 0\n", "h: unexpected output from host"},
		{"a user's unended line before root's", "MARK begin 0\nMARK end 0 0\nINNER begin 1\nINNER fact k=vMARK end 1 1\n", "h: b: look: @"},
		{"the end of another", "MARK begin 0\nMARK end 1 0\n", wrong},
		{"an end that is no number", "MARK begin 0\nMARK end 0 fine\n", wrong},
		{"two begins", "MARK begin 0\nMARK begin 0\n", wrong},
		{"a begin within", "MARK begin 0\nMARK begin 1\n", wrong},
		{"a begin after its end", "MARK begin 0\nMARK end 0 0\nMARK begin 0\n", "h: b: look: unexpected output from host"},
		{"a begin left out", "INNER begin 1\n", "h: unexpected output from host"},
		{"a begin out of bounds", "MARK begin 2\n", "h: unexpected output from host"},
		{"a begin below", "MARK begin -1\n", "h: unexpected output from host"},
		{"a begin that is no number", "MARK begin x\n", "h: unexpected output from host"},
		{"a user who begins what is root's", "INNER begin 0\n", "h: unexpected output from host"},
		{"a user who ends what is root's", "MARK begin 0\nINNER end 0 0\n", wrong},
		{"a user who reports what is root's", "MARK begin 0\nINNER fact k=forged\nMARK end 0 0\nINNER begin 1\nINNER end 1 0\n", "h: a: look: the connection ended before the host said how it went; it may or may not be done (the host reports a fact that nobody asked for: "},
		{"facts without end", "MARK begin 0\n" + strings.Repeat("MARK fact k=v\n", maxFacts+1), "h: a: look: the connection ended before the host said how it went; it may or may not be done (the host reports more than 50000 facts)"},
	}
	steps := []Step{
		fixed{name: "a", probe: Script{Text: ":"}},
		fixed{name: "b", probe: Script{Text: ":", User: "somebody"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lies := tt.says
			if tt.err == "" {
				lies = "MARK begin 0\nMARK fact k=v\nMARK end 0 0\nINNER begin 1\nINNER fact k=w\nINNER end 1 0\n"
			}
			seen, err := Look(context.Background(), Target{Name: "h", Host: says(lies, nil)}, steps)
			if tt.err == "" {
				if err != nil || seen.Of("a").Get("k") != "v" || seen.Of("b").Get("k") != "w" {
					t.Errorf("saw %v, error %v", seen, err)
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), tt.err) {
				t.Errorf("got  %v\nwant %s", err, tt.err)
			}
			if seen.Of("a") != nil || seen.Of("b") != nil {
				t.Errorf("saw %v", seen)
			}
		})
	}
}

func TestALongLineIsCut(t *testing.T) {
	long := strings.Repeat("x", 5*maxLine+17)
	seen, err := Look(context.Background(),
		Target{Name: "h", Host: says("MARK begin 0\n"+long+"\nMARK fact long="+long+"\nMARK fact next=yes\nMARK end 0 0\n", nil)},
		[]Step{fixed{name: "a", probe: Script{Text: ":"}}})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(seen.Of("a").Get("long")); n < maxLine/2 || n > maxLine {
		t.Errorf("the long fact has %d bytes", n)
	}
	if seen.Of("a").Get("next") != "yes" {
		t.Errorf("what comes after a long line is lost: %d facts", len(seen.Of("a")))
	}
}

func TestBinaryOutput(t *testing.T) {
	_, err := Look(context.Background(), Target{Name: "h", Host: says("MARK begin 0\n\x00\xff\xfe\x1b]0;title\x07\u202e\nMARK end 0 1\n", nil)},
		[]Step{fixed{name: "a", probe: Script{Text: ":"}}})
	if want := `h: a: look: \x00\xff\xfe\x1b]0;title\a\u202e`; fmt.Sprint(err) != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// A script may print as much as it likes: what is passed on is bounded, and
// its last lines still become the reason of its failure.
func TestAFloodIsBounded(t *testing.T) {
	host := liar(func(_ context.Context, marks []string, out io.Writer) error {
		fmt.Fprintf(out, "%s begin 0\n", marks[0])
		line := append(bytes.Repeat([]byte("x"), 1023), '\n')
		for range 3 * maxSaid / len(line) {
			if _, err := out.Write(line); err != nil {
				return err
			}
		}
		fmt.Fprintf(out, "the reason\n%s end 0 1\n", marks[0])
		return nil
	})
	said := 0
	_, err := run(context.Background(), Target{Name: "h", Host: host}, nil, []pending{{"s", Change{Object: "c", Do: Script{Text: ":"}}}}, nil, func(e Event) {
		said += len(e.Text)
	})
	if said == 0 || said > maxSaid {
		t.Errorf("%d bytes were passed on, at most %d may be", said, maxSaid)
	}
	var e *StepError
	if !errors.As(err, &e) || err.Error() != "h: s: c: the reason" || len(e.Output) > keepLines {
		t.Errorf("got %v", err)
	}
}

// A host that goes on for ever after it was caught lying is not listened to,
// and told to stop.
func TestALiarIsStopped(t *testing.T) {
	host := liar(func(ctx context.Context, marks []string, out io.Writer) error {
		fmt.Fprintf(out, "%s end 0 0\n", marks[0])
		for {
			if _, err := io.WriteString(out, "more\n"); err != nil {
				<-ctx.Done()
				return ctx.Err()
			}
		}
	})
	_, err := Look(context.Background(), Target{Name: "h", Host: host}, []Step{fixed{name: "a", probe: Script{Text: ":"}}})
	if err == nil || !strings.Contains(err.Error(), "unexpected output from host") {
		t.Errorf("got %v", err)
	}
}

// A host that goes on for ever with what is no lie, in lines or in one line or
// in facts, is stopped, and fills no memory.
func TestAnEndlessAnswerIsStopped(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"lines":       {strings.Repeat("x", 1023) + "\n", "64 MiB"},
		"short lines": {strings.Repeat("y\n", 1000), "1048576 lines"},
		"a line":      {strings.Repeat("x", 1024), "64 MiB"},
		"facts":       {"MARK fact k=" + strings.Repeat("x", maxLine-100) + "\n", "64 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			var sent int
			host := liar(func(ctx context.Context, marks []string, out io.Writer) error {
				fmt.Fprintf(out, "%s begin 0\n", marks[0])
				more := []byte(strings.ReplaceAll(c.text, "MARK", marks[0]))
				for sent <= 2*maxHeard {
					n, err := out.Write(more)
					if sent += n; err != nil {
						<-ctx.Done()
						return ctx.Err()
					}
				}
				return nil
			})
			_, err := Look(context.Background(), Target{Name: "h", Host: host}, []Step{fixed{name: "a", probe: Script{Text: ":"}}})
			if err == nil || !strings.Contains(err.Error(), "the host says more than "+c.says) {
				t.Errorf("got %v", err)
			}
			if sent > 2*maxHeard {
				t.Errorf("%d bytes were heard", sent)
			}
		})
	}
}

// FuzzListen has a host say anything at all about two changes and two probes, one of each
// run by another user: nothing steers a terminal, no change comes out twice, and
// something was seen only if everything has begun and ended well.
func FuzzListen(f *testing.F) {
	for _, text := range []string{
		"", "motd\n\x1b[2J", "MARK begin 0\nout\nMARK end 0 0\nINNER begin 1\nINNER end 1 0\nMARK begin 2\nMARK fact k=v\nMARK end 2 0\nLAST begin 3\nLAST fact k=w\nLAST end 3 0\n",
		"MARK begin 0\nMARK end 0 1\nINNER begin 1\nINNER end 1 0\n", "MARK begin 0\nINNER end 0 0\n", "MARK begin 0\nMARK look x\n", "MARK begin 0\nMARK begin 1\n", "\xff\u202eMARK begin 0",
		"MARK begin 0\nMARK end 0 0\nINNER begin 1\nhalf", "MARK begin 0\nMARK end 0 99999999999999999999\n", "LAST begin 3\nLAST end 3 0\n", "MARK fact =\n",
		"MARK begin 0\nMARK end 0 0\nMARK begin 1\nMARK end 1 0\nMARK begin 2\nMARK end 2 0\nMARK begin 3\nMARK end 3 0\n", "MARK begin 00\nMARK end 0 -0\n",
	} {
		f.Add(text)
	}
	todo := []pending{{"s", Change{Object: "0", Do: Script{Text: ":"}}}, {"s", Change{Object: "1", Do: Script{Text: ":", User: "somebody"}}}}
	steps := []Step{fixed{name: "a", probe: Script{Text: ":"}}, fixed{name: "b", probe: Script{Text: ":", User: "somebody"}}}
	f.Fuzz(func(t *testing.T, text string) {
		host := liar(func(_ context.Context, marks []string, out io.Writer) error {
			io.WriteString(out, strings.NewReplacer("MARK", marks[0], "INNER", marks[1], "LAST", marks[2]).Replace(text))
			return nil
		})
		verdicts := map[string]int{}
		seen, err := run(context.Background(), Target{Name: "h", Host: host}, nil, todo, steps, func(e Event) {
			if visible.String(e.Text) != e.Text {
				t.Errorf("%q is passed on", e.Text)
			}
			switch e.Kind {
			case Done, Failed, NotRun:
				verdicts[e.Change.String()]++
			}
		})
		if (seen.facts == nil) != (err != nil) {
			t.Fatalf("saw %v, error %v", seen, err)
		}
		for _, n := range []string{"0", "1"} {
			if v := verdicts[n]; v > 1 || v == 0 && err == nil {
				t.Errorf("change %s came out %d times (%v)", n, v, err)
			}
		}
		if err != nil {
			if visible.String(err.Error()) != err.Error() {
				t.Errorf("the error is %q", err)
			}
			return
		}
		// The outer program may speak of every job, an inner one of its own.
		for i, mark := range []string{"MARK", "(MARK|INNER)", "MARK", "(MARK|LAST)"} {
			for _, word := range []string{"begin", "end"} {
				if !regexp.MustCompile(fmt.Sprintf("%s %s [+-]?0*%d( |\n|$)", mark, word, i)).MatchString(text) {
					t.Errorf("job %d is believed to be through, without %s", i, word)
				}
			}
		}
	})
}
