package provision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"provision/e2e/needs"
	"provision/provision/shape"
)

// shown is a step that CI may look at.
type shown struct {
	fixed
	ci CIProbe
}

func (s shown) LookAsCI() CIProbe { return s.ci }

// What a gate answers is believed only behind the digest of the program that
// should be installed there, whatever else it says.
func TestCheckThrough(t *testing.T) {
	step := shown{fixed{
		name: "a",
		plan: func(f Facts) ([]Change, error) {
			return []Change{Note("saw %s", f.Get("k"))}, nil
		},
	}, CIProbe{Script: Script{Text: "fact k v"}, Facts: shape.Facts{"k": shape.Words("v")}}}
	text, err := LookProgram([]CIStep{step}, "somebody")
	if err != nil {
		t.Fatal(err)
	}
	const look, facts = "MARK look DIGEST\n", "MARK begin 0\nMARK fact k=v\nMARK end 0 0\n"
	for _, c := range []struct {
		name, says string
		believed   bool
	}{
		{"as it should be", look + facts, true},
		{"after other words", "motd\n" + look + facts, true},
		{"another program", strings.Replace(look, "DIGEST", Digest("another"), 1) + facts, false},
		{"no program", "MARK look \n" + facts, false},
		{"without a word of it", facts, false},
		{"too late", facts + look, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan, err := CheckThrough(context.Background(), Target{Name: "h"}, []CIStep{step}, "somebody", func(_ context.Context, words string, out io.Writer) error {
				mark, ok := strings.CutPrefix(words, "verify ")
				mark, protocol := strings.CutSuffix(mark, " 2")
				if !ok || !protocol || len(mark) != 32 || strings.Trim(mark, "0123456789abcdef") != "" {
					t.Errorf("the gate is asked %q", words)
				}
				_, err := io.WriteString(out, strings.NewReplacer("MARK", mark, "DIGEST", Digest(text)).Replace(c.says))
				return err
			})
			if c.believed {
				if err != nil || fmt.Sprint(plan[0].Notes) != "[{saw v  false}]" {
					t.Errorf("planned %+v, error %v", plan, err)
				}
				return
			}
			var outdated *OutdatedError
			if plan != nil || !errors.As(err, &outdated) {
				t.Errorf("planned %+v, error %v", plan, err)
			}
		})
	}
}

// Nothing that a look program prints leaves the host but facts that have their shape, in
// whatever way a script prints them.
func TestLookProgramShapes(t *testing.T) {
	const secret = "hunter2"
	number := func(text string) CIStep {
		return shown{fixed{name: text}, CIProbe{Script: Script{Text: text}, Facts: shape.Facts{"n": shape.Number, "user *": shape.Name}}}
	}
	word := shown{fixed{name: "word"}, CIProbe{Script: Script{Text: "fact n seven"}, Facts: shape.Facts{"n": shape.Words("seven")}}}
	for text, want := range map[string]string{
		"fact n 7":                            "fact n=7",
		"fact n hunter2":                      "fact unseen=what has another form than CI is shown: n",
		"fact n '7 hunter2'":                  "fact unseen=what has another form than CI is shown: n",
		"fact other hunter2":                  "",
		"fact 'user u' name":                  "fact user u=name",
		"fact 'user u' 'a b'":                 "fact unseen=what has another form than CI is shown: user u",
		"fact 'user hunter2 a' x":             "",
		"fact n 7 hunter2":                    "fact n=7",
		"echo hunter2":                        "",
		"echo hunter2 >&2":                    "",
		"printf hunter2\nfact n 7":            "fact n=7",
		"printf 'a\\000hunter2\\n'\nfact n 7": "fact n=7",
		"printf '%s fact n=7 hunter2 %s\\n' \"$mark\" \"$mark\"": "fact unseen=what has another form than CI is shown: n",
		"fail hunter2":                           "",
		"cat /dev/hunter2":                       "",
		"printf '%s hunter2\\n' \"$mark\"":       "",
		"printf '%s begin hunter2\\n' \"$mark\"": "",
	} {
		program, err := LookProgram([]CIStep{number(text), word}, "somebody")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"dash", "bash", "busybox"} {
			args := []string{"-c", program, "sh", "MARK"}
			if name == "busybox" {
				args = append([]string{"sh"}, args...)
			}
			cmd := exec.Command(needs.Program(t, name), args...)
			cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=/"}
			out, err := cmd.CombinedOutput()
			got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
			status := "0"
			if strings.HasPrefix(text, "fail") || strings.HasPrefix(text, "cat") {
				status = "1"
			}
			lines := []string{"MARK begin 0", "MARK " + want, "MARK end 0 " + status, "MARK begin 1", "MARK fact n=seven", "MARK end 1 0"}
			if want == "" {
				lines = append(lines[:1], lines[2:]...)
			}
			if err != nil || strings.Join(got, "\n") != strings.Join(lines, "\n") || strings.Contains(string(out), secret) {
				t.Errorf("%s, %q: told %q, want %q, error %v", name, text, got, lines, err)
			}
		}
	}
}

// What a host answers in the place of its look program is believed only where it has the
// shapes, and else stands nowhere: in no plan, no error and no trace.
func TestALyingHostHasOnlyShapes(t *testing.T) {
	const secret = "hunter2"
	step := shown{fixed{name: "a", plan: func(f Facts) ([]Change, error) {
		return []Change{Note("saw %v", f)}, nil
	}}, CIProbe{Script: Script{Text: "fact n 7"}, Facts: shape.Facts{"n": shape.Number}}}
	text, err := LookProgram([]CIStep{step}, "somebody")
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "MARK begin 0\n", "MARK end 0 0\n"
	for says, believed := range map[string]bool{
		begin + "MARK fact n=7\n" + end:                     true,
		"hunter2\n" + begin + "hunter2\n" + end + "hunter2": true,
		begin + "hunter2MARK fact n=7\n" + end:              true,
		begin + "MARK fact n=hunter2\n" + end:               false,
		begin + "MARK fact n=7 hunter2\n" + end:             false,
		begin + "MARK fact hunter2=7\n" + end:               false,
		begin + "MARK fact unseen=hunter2\n" + end:          false,
		begin + "MARK fact hunter2\n" + end:                 false,
		begin + "MARK end hunter2\n":                        false,
		begin + "MARK end 0 hunter2\n":                      false,
		begin + "MARK begin hunter2\n":                      false,
		begin + "hunter2\nMARK end 0 1\n":                   false,
		begin + "hunter2\n":                                 false,
		"hunter2\n":                                         false,
		"MARK begin hunter2\n":                              false,
		"MARK fact n=hunter2\n":                             false,
		"MARK look hunter2\n":                               false,
	} {
		var trace strings.Builder
		target := Target{Name: "h", Trace: func(_ bool, text string) { trace.WriteString(text + "\n") }}
		plan, err := CheckThrough(t.Context(), target, []CIStep{step}, "somebody", func(_ context.Context, words string, out io.Writer) error {
			mark := strings.Fields(words)[1]
			_, err := io.WriteString(out, strings.ReplaceAll("MARK look "+Digest(text)+"\n"+says, "MARK", mark))
			return err
		})
		if (err == nil) != believed {
			t.Errorf("%q: planned %+v, error %v", says, plan, err)
		}
		if told := fmt.Sprintf("%+v %v %s", plan, err, &trace); strings.Contains(told, secret) {
			t.Errorf("%q: it is told of: %s", says, told)
		}
	}
}
