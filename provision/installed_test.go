package provision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// What a gate answers is believed only behind the digest of the program that
// should be installed there, whatever else it says.
func TestCheckThrough(t *testing.T) {
	step := fixed{
		name:  "a",
		probe: Script{Text: "fact k v"},
		plan: func(f Facts) ([]Change, error) {
			return []Change{Note("saw %s", f.Get("k"))}, nil
		},
	}
	text, err := LookProgram([]Step{step}, "somebody")
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
			plan, err := CheckThrough(context.Background(), Target{Name: "h"}, []Step{step}, "somebody", func(_ context.Context, words string, out io.Writer) error {
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
