package steps

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"provision/provision"
	"provision/provision/hint"
)

var update = flag.Bool("update", false, "write the plans of testdata/plan anew")

// TestPlans reads testdata/plan: what was seen, and what is planned then.
//
// Above the first section stands a sentence, and lines "step: NAME",
// "inventory: NAME" and "retire: CREDENTIAL". A fact is a line "KEY=VALUE" with
// \n and \r for line breaks. In facts ${key1} and ${key2} are public keys,
// ${fingerprint1} and ${fingerprint2} what ssh-keygen -l calls them, and
// ${text} and ${file} tell what the step would write: its digest, and how
// a file of root with that text is reported. ${env NAME}, and ${env COMPOSE_FILE
// override}, are digests of lines that app-env would write, and ${content PATH}
// that of a file of app-files.
func TestPlans(t *testing.T) {
	files, err := filepath.Glob("testdata/plan/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			c := readCase(t, file)
			got := describe(c.plan(t))
			if *update {
				c.archive.Files[1].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(c.archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := string(c.archive.Files[1].Data); got != want {
				t.Errorf("planned:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

type planCase struct {
	archive *txtar.Archive
	step    provision.Step
	facts   provision.Facts
}

func readCase(t *testing.T, file string) planCase {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(archive.Files) != 2 || archive.Files[0].Name != "facts" || archive.Files[1].Name != "plan" {
		t.Fatal("the sections are facts and plan")
	}
	head := headOf(archive)
	step := stepOf(t, head["inventory"], expand(nil, head["retire"]), head["step"])
	facts := provision.Facts{}
	for line := range strings.Lines(string(archive.Files[0].Data)) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if !ok {
			t.Fatalf("no fact: %q", line)
		}
		facts.Add(expand(step, key), expand(step, escapes.Replace(value)))
	}
	return planCase{archive, step, facts}
}

// headOf returns the lines "KEY: VALUE" above the first section.
func headOf(archive *txtar.Archive) map[string]string {
	head := map[string]string{}
	for line := range strings.Lines(string(archive.Comment)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			head[key] = value
		}
	}
	return head
}

var escapes = strings.NewReplacer(`\n`, "\n", `\r`, "\r")

func expand(step provision.Step, text string) string {
	return os.Expand(text, func(name string) string {
		switch name {
		case "key1":
			return key1.public
		case "key2":
			return key2.public
		case "fingerprint1":
			return key1.fingerprint
		case "fingerprint2":
			return key2.fingerprint
		case "text", "file":
			changes, err := step.Plan(nil)
			if err != nil || len(changes) != 1 {
				panic(fmt.Sprint(changes, err))
			}
			args := changes[0].Do.(provision.Script).Args
			if name == "file" {
				return fileFact(args[1], args[2])
			}
			sum := sha256.Sum256([]byte(args[1]))
			return hex.EncodeToString(sum[:])
		}
		switch words := strings.Fields(name); words[0] {
		case "env":
			return step.(appEnv).digestOf(words[1], len(words) > 2)
		case "content":
			return step.(appFiles).digestOf(words[1])
		}
		panic("there is no ${" + name + "}")
	})
}

// plan plans twice: a plan depends on the facts alone, and leaves them alone.
func (c planCase) plan(t *testing.T) (provision.Plan, error) {
	t.Helper()
	before := provision.Facts{}
	for key, values := range c.facts {
		before[key] = slices.Clone(values)
	}
	seen := provision.SeenOf(map[string]provision.Facts{c.step.Name(): c.facts})
	plan, err := provision.PlanFor([]provision.Step{c.step}, seen)
	if !reflect.DeepEqual(c.facts, before) {
		t.Errorf("planning changed the facts\nfrom %v\nto   %v", before, c.facts)
	}
	again, err2 := provision.PlanFor([]provision.Step{c.step}, provision.SeenOf(map[string]provision.Facts{c.step.Name(): maps.Clone(before)}))
	if a, b := describe(plan, err), describe(again, err2); a != b {
		t.Errorf("planned the first time:\n%s\nand the second time:\n%s", a, b)
	}
	if plan.Missing() > 0 {
		had := map[provision.ID]bool{}
		for _, change := range plan[0].Changes {
			id := change.ID(c.step.Name())
			if had[id] {
				t.Errorf("planned twice: %s", id)
			}
			had[id] = true
		}
	}
	return plan, err
}

// describe writes a plan as it stands in testdata.
func describe(plan provision.Plan, err error) string {
	var b strings.Builder
	for _, s := range plan {
		for _, c := range s.Changes {
			switch do := c.Do.(type) {
			case nil:
				fmt.Fprintf(&b, "later: %s\n", c)
			case provision.Call:
				fmt.Fprintf(&b, "call: %s\n", c)
			case provision.Script:
				fmt.Fprintf(&b, "script: %s\n", c)
				user := do.User
				if user == "" {
					user = "root"
				}
				fmt.Fprintf(&b, "\tas %s", user)
				if !do.Secret.IsZero() {
					b.WriteString(" with a secret")
				}
				for i, arg := range do.Args {
					if i == 0 {
						b.WriteString(":")
					}
					if len(arg) > 60 {
						arg = arg[:60] + "…"
					}
					fmt.Fprintf(&b, " %q", arg)
				}
				b.WriteString("\n")
			}
			for line := range strings.Lines(c.Detail) {
				fmt.Fprintf(&b, "\t| %s\n", strings.TrimRight(line, " \n"))
			}
		}
		for _, c := range s.Credentials {
			fmt.Fprintf(&b, "credential: %v\n", c)
		}
		for _, n := range s.Notes {
			kind := "note"
			if n.Drift {
				kind = "drift"
			}
			fmt.Fprintf(&b, "%s: %s\n", kind, n.Text)
			if n.Hint != "" {
				fmt.Fprintf(&b, "hint: %s\n", n.Hint)
			}
		}
		for _, u := range s.Unchecked {
			fmt.Fprintf(&b, "not checked: %s\n", u)
		}
	}
	if err != nil {
		fmt.Fprintf(&b, "error: %v\n", err)
		for _, h := range hint.Of(err) {
			fmt.Fprintf(&b, "hint: %s\n", h)
		}
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

// FuzzPlans has a host report any facts to each step that has a golden plan: a
// step may find that its wish cannot be met, and never fails in another way.
func FuzzPlans(f *testing.F) {
	files, err := filepath.Glob("testdata/plan/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatalf("found %v, %v", files, err)
	}
	for i, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), string(archive.Files[0].Data))
	}
	f.Fuzz(func(t *testing.T, i uint8, text string) {
		c := readCase(t, files[int(i)%len(files)])
		c.facts = provision.Facts{}
		for line := range strings.Lines(text) {
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			keys := strings.NewReplacer("${key1}", key1.public, "${key2}", key2.public, "${fingerprint1}", key1.fingerprint, "${fingerprint2}", key2.fingerprint)
			c.facts.Add(keys.Replace(key), keys.Replace(escapes.Replace(value)))
		}
		c.plan(t)
	})
}
