package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"provision/cmd/fleet"
	"provision/cmd/output"
	"provision/e2e/needs"
	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
	"provision/provision/hint"
)

func TestShards(t *testing.T) {
	hosts := make([]fleet.Part, 23)
	for i := range hosts {
		hosts[i].Host = &inventory.Host{Name: fmt.Sprint(i)}
	}
	for n := 1; n <= 30; n++ {
		had := map[*inventory.Host]int{}
		least, most := len(hosts), 0
		for k := 1; k <= n; k++ {
			part := Shard{k, n}.Of(hosts)
			least, most = min(least, len(part)), max(most, len(part))
			for _, p := range part {
				had[p.Host]++
			}
		}
		for _, p := range hosts {
			if had[p.Host] != 1 {
				t.Errorf("over %d shards, host %s is in %d of them", n, p.Host.Name, had[p.Host])
			}
		}
		if most-least > 1 {
			t.Errorf("of %d shards, the smallest has %d hosts and the biggest %d", n, least, most)
		}
	}
}

// A named step does nothing.
type named string

func (s named) Name() string                                   { return string(s) }
func (named) Probe() provision.Probe                           { return provision.Probe{} }
func (named) Plan(provision.Facts) ([]provision.Change, error) { return nil, nil }
func stepPlan(step string, c ...provision.Change) provision.StepPlan {
	return provision.StepPlan{Step: step, Changes: c}
}

func TestJudge(t *testing.T) {
	list := []provision.Step{named("a"), named("b"), named("c")}
	change := provision.Change{Verb: "make", Object: "it", Do: provision.Script{}}
	later := provision.Later("make", "the rest", "")
	unmet := &provision.StepError{Host: "h", Step: "b", Err: errors.New("cannot be")}
	lost := &provision.StepError{Host: "h", Step: "b", Change: "look", Err: errors.New("lost")}
	for _, tt := range []struct {
		name  string
		plan  provision.Plan
		err   error
		wrong string // by step
		fails string
	}{
		{"ok", provision.Plan{}, nil, "a[] b[] c[]", ""},
		{"a change", provision.Plan{stepPlan("b", change)}, nil, "a[] b[apply would make it] c[]", ""},
		{"what follows from it", provision.Plan{stepPlan("b", change), stepPlan("c", later)}, nil, "a[] b[apply would make it] c[apply would make the rest]", ""},
		{"what follows from nothing", provision.Plan{stepPlan("c", later)}, nil, "a[] b[]", "h: c: look: make the rest"},
		{"a wish that cannot be met", provision.Plan{stepPlan("c", later)}, unmet, "a[] b[cannot be] c[apply would make the rest]", ""},
		{"a look that failed", nil, lost, "", "h: b: look: lost"},
		{"both", provision.Plan{}, errors.Join(unmet, lost), "", "h: b: look: lost"},
	} {
		verdicts, err := judge("h", "d", list, nothingOfGitLab, tt.plan, tt.err)
		var got []string
		for _, v := range verdicts {
			got = append(got, v.step+fmt.Sprint(v.wrong))
			if v.ok() != (len(v.wrong) == 0) || v.deployment != "d" {
				t.Errorf("%s: %+v", tt.name, v)
			}
		}
		if strings.Join(got, " ") != tt.wrong || (err == nil) != (tt.fails == "") || err != nil && err.Error() != tt.fails {
			t.Errorf("%s: got %q, %v; want %q, %q", tt.name, got, err, tt.wrong, tt.fails)
		}
	}
}

// An asking step wants to know something of GitLab.
type asking struct{ named }

func (asking) Probe() provision.Probe {
	return provision.Probe{Ask: func(context.Context, forge.Forge) (provision.Facts, error) { return nil, nil }}
}

// With a token GitLab was to be looked at, and what it does not show is missed.
// Without one nobody expects that, as nobody expects of CI what only root sees.
func TestJudgeWhatIsUnseen(t *testing.T) {
	list := []provision.Step{named("user"), asking{"deploy-key"}}
	plan := provision.Plan{{Step: "user", Unchecked: []string{"its password"}}, {Step: "deploy-key", Unchecked: []string{"who reads"}}}
	for gitlab, want := range map[expectation]string{
		nothingOfGitLab: "user[][its password] deploy-key[][who reads]",
		allOfGitLab:     "user[][its password] deploy-key[who reads][]",
	} {
		verdicts, err := judge("h", "d", list, gitlab, plan, nil)
		var got []string
		for _, v := range verdicts {
			got = append(got, fmt.Sprintf("%s%v%v", v.step, v.unchecked, v.unseen))
		}
		if strings.Join(got, " ") != want || err != nil {
			t.Errorf("%s of GitLab: got %q, %v; want %q", gitlab, got, err, want)
		}
	}
}

type ownForge struct{ forge.Forge }

func (ownForge) Self(context.Context) (forge.Token, error) {
	return forge.Token{Name: "owner of\x1b", DaysLeft: 3}, nil
}

// A gate and a program that are not of one version say which of them is older.
func TestRefusedBy(t *testing.T) {
	const older = "the gate of the host is older than this program\nhint: upgrade it: provision apply"
	d := &inventory.Deployment{Name: "app"}
	for said, want := range map[string][2]string{
		"provision: refused: a nonce has hexadecimal digits\n": {"gate", older},
		"provision: refused: a nonce has 32 digits":            {"gate", older},
		"provision: refused: no such deployment":               {"gate", older}, // of the time before there were codes
		"provision: refused: this key allows only: deploy":     {"gate", older},
		"provision: refused: ":                                 {"gate", older},
		"provision: refused: old-program: upgrade: there\n":    {"deploy-settings app", "the gate refuses to look: upgrade: there"},
		"provision: refused: not-installed: whatever":          {"verify-script app", "the gate refuses to look: whatever"},
		"provision: refused: unknown-deployment: nothing":      {"deploy-settings app", "the gate refuses to look: nothing"},
		"not-installed: whatever":                              {"", ""},
		"x provision: refused: not-installed: whatever":        {"", ""},
		"": {"", ""},
	} {
		if step, reason := refusedBy(said, d); step != want[0] || reason.String() != want[1] {
			t.Errorf("%q: %q, %q; want %q", said, step, reason, want)
		}
	}
}

func TestOwnToken(t *testing.T) {
	if got := (Mode{}).ownToken(t.Context(), ownForge{}); got != nil {
		t.Errorf("without a token: %v", got)
	}
	got := Mode{Token: true}.ownToken(t.Context(), ownForge{})
	if want := `the token "owner of\x1b" that GitLab was asked with`; len(got) != 1 || got[0].Name != want || got[0].Days != 3 {
		t.Errorf("got %v, want %q", got, want)
	}
}

func TestVerdicts(t *testing.T) {
	web1, web2, web3 := &inventory.Host{Name: "web1"}, &inventory.Host{Name: "web2"}, &inventory.Host{Name: "web3"}
	build := func(format string) (*Verification, *bytes.Buffer, *bytes.Buffer) {
		var out, errs bytes.Buffer
		v := newVerification(Mode{As: CI}, output.New(output.Options{Out: &out, Errs: &errs, JSON: format == "json"}))
		v.path = "my inventory.toml"
		v.add("web1",
			verdict{deployment: "app", step: "gate"},
			verdict{deployment: "app", step: "user u", unchecked: []string{"its password", "its shell"}},
			verdict{deployment: "app", step: "ci-key app", wrong: plainly("apply would <mend> it\x1b[2J", "apply would tell"), notes: plainly("mind this")},
			verdict{deployment: "app", step: "restriction app", refused: make([]string, 19), breaches: []string{"a shell: uid=0"}},
		)
		v.add("web3", verdict{step: "gate", unchecked: []string{"who else writes there"}}, verdict{step: "docker", unseen: []string{"its password", "its shell"}})
		v.print([]*fleet.Site{{Host: web1}, {Host: web2}, {Host: web3}}, map[*inventory.Host]error{web2: hint.Add(errors.New("web2: nobody answers"), "wake it")}, output.Cost{})
		return v, &out, &errs
	}

	v, out, errs := build("text")
	if !v.Drift() || len(v.errs) != 1 {
		t.Errorf("drift %t, errors %v", v.Drift(), v.errs)
	}
	got := out.String()
	got = got[:strings.LastIndex(got, ", ")]
	want := `web1: app: ci-key app: DRIFT: apply would <mend> it\x1b[2J
web1:     apply would tell
web1: app: ci-key app: note: mind this
web1: app: restriction app: BREACH: the CI key can do what it must not: a shell: uid=0
  hint: apply puts authorized_keys right, and sshd_config is yours; then the key is to be replaced: provision rotate-key --only ci-key --limit web1 'my inventory.toml'
not checked: 2 steps of 2 hosts: its password; its shell
web3: gate: not checked: who else writes there
3 hosts, 4 steps ok, 1 DRIFT, 1 BREACH, 2 not fully checked, 1 needs admin, 1 note, 19 attempts refused, 1 host UNREACHABLE`
	if got != want {
		t.Errorf("printed\n%s\nwant\n%s", got, want)
	}
	if errs.String() != "provision: web2: nobody answers\n  hint: wake it\n" {
		t.Errorf("printed %q", errs)
	}

	text := junitOf(t, v)
	type result struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	var suites struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
		Suite    []struct {
			Name string `xml:"name,attr"`
			Case []struct {
				Name    string `xml:"name,attr"`
				Class   string `xml:"classname,attr"`
				Failure result `xml:"failure"`
				Error   result `xml:"error"`
				Out     string `xml:"system-out"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(text, &suites); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	var cases []string
	for _, s := range suites.Suite {
		for _, c := range s.Case {
			cases = append(cases, fmt.Sprintf("%s|%s|%s|%s|%s|%s|%s", s.Name, c.Class, c.Name, c.Failure.Message+c.Error.Message, c.Failure.Text, c.Error.Text, c.Out))
		}
	}
	if want := []string{
		"web1|web1.app|gate||||",
		"web1|web1.app|user u||||not checked: its password; its shell",
		`web1|web1.app|ci-key app|apply would <mend> it\x1b[2J|apply would <mend> it\x1b[2J` + "\napply would tell||note: mind this",
		"web1|web1.app|restriction app|the CI key can do what it must not: a shell: uid=0|a shell: uid=0||",
		"web2|web2|look|web2: nobody answers||web2: nobody answers\nhint: wake it|",
		"web3|web3|gate||||not checked: who else writes there",
		"web3|web3|docker||||not checked: its password; its shell",
	}; !slices.Equal(cases, want) || suites.Tests != 7 || suites.Failures != 2 || suites.Errors != 1 {
		t.Errorf("%d tests, %d failures, %d errors:\n%s\nwant\n%s", suites.Tests, suites.Failures, suites.Errors, strings.Join(cases, "\n"), strings.Join(want, "\n"))
	}
}

// With --strict a note is a failure, wherever failures are told.
func TestStrict(t *testing.T) {
	var out bytes.Buffer
	v := newVerification(Mode{As: CI}, output.New(output.Options{Out: &out, Errs: io.Discard}))
	v.mode.Strict = true
	v.add("web1", verdict{step: "gate"}, verdict{step: "unmanaged", notes: []finding{{"mind this", []string{"now"}}, {text: "and that"}}})
	f := anExample(t, "web1")
	v.print(f.Sites, nil, output.Cost{})
	if !v.Drift() {
		t.Error("a note is no drift")
	}
	if !strings.Contains(out.String(), "2 steps ok, 2 notes that --strict FAILS FOR, ") {
		t.Errorf("printed %s", &out)
	}
	if text := string(junitOf(t, v)); !strings.Contains(text, `failures="1"`) || !strings.Contains(text, `<failure message="mind this" type="note">`) {
		t.Errorf("written %s", text)
	}
	if p := v.page(f, About{}, time.Now()); p.Verdict != "The host is ok, with 2 notes to read, which --strict fails for" {
		t.Errorf("the page says %q", p.Verdict)
	}
}

// The one line that GitLab shows of a test is one, and has an end.
func TestFirstLine(t *testing.T) {
	long := strings.Repeat("ä", 300)
	for text, want := range map[string]string{
		"it is not there\nhint: make it": "it is not there",
		"\x1b[2Jgone\r":                  `\x1b[2Jgone\r`,
		long:                             strings.Repeat("ä", 199) + "…",
	} {
		if got := firstLine(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestVerdictsAsJSON(t *testing.T) {
	var out bytes.Buffer
	v := newVerification(Mode{As: CI}, output.New(output.Options{Out: &out, JSON: true}))
	v.wrong(output.Line{Host: "web1", Deployment: "app", Step: "gate"}, []finding{{"apply would mend it", []string{"run apply"}}, {text: "apply would tell"}})
	v.tell("breach", output.Line{Host: "web1", Deployment: "app", Step: "restriction app"}, finding{text: "a shell"})
	var got []output.Line
	for text := range strings.Lines(out.String()) {
		var l output.Line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatal(err)
		}
		got = append(got, l)
	}
	if len(got) != 3 || got[0].Event != "wrong" || got[0].Text != "apply would mend it" || got[0].Hint != "run apply" || got[0].Deployment != "app" ||
		got[1].Event != "wrong" || got[1].Text != "apply would tell" || got[2].Event != "breach" || got[2].Step != "restriction app" {
		t.Errorf("%s", &out)
	}
}

// junitOf returns the report for GitLab, which follows its schema.
func junitOf(t *testing.T, v *Verification) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "junit.xml")
	if err := v.WriteJUnit(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	xmllint(t, file)
	return text
}

// What is not checked and what is noted is in the report, whether or not the
// step is as it should be.
func TestJUnitOfNotes(t *testing.T) {
	v := newVerification(Mode{As: CI}, output.New(output.Options{Out: io.Discard, Errs: io.Discard}))
	v.add("web1",
		verdict{step: "containers app", notes: []finding{{"no container runs", []string{"\x1b deploy"}}, {text: "<another>"}}},
		verdict{step: "gate", wrong: plainly("it is not there"), unchecked: []string{"all else"}, notes: plainly("mind this")},
		verdict{step: "os"})
	text := junitOf(t, v)
	var suites struct {
		Cases []struct {
			Failure string `xml:"failure"`
			Out     string `xml:"system-out"`
		} `xml:"testsuite>testcase"`
	}
	if err := xml.Unmarshal(text, &suites); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	var got []string
	for _, c := range suites.Cases {
		got = append(got, c.Failure+"|"+c.Out)
	}
	if want := []string{
		"|note: no container runs\nhint: \\x1b deploy\nnote: <another>",
		"it is not there|not checked: all else\nnote: mind this",
		"|",
	}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What two deployments see of the same user is told once.
func TestNotesOfOneUser(t *testing.T) {
	v := newVerification(Mode{As: CI}, output.New(output.Options{Out: io.Discard, Errs: io.Discard}))
	for _, d := range []string{"app", "shop"} {
		v.add("web1", verdict{deployment: d, step: "unrestricted-keys u", notes: plainly("a key")})
	}
	v.add("web2", verdict{deployment: "app", step: "unrestricted-keys u", notes: plainly("a key")})
	got := 0
	for _, verdicts := range v.verdicts {
		for _, verdict := range verdicts {
			got += len(verdict.notes)
		}
	}
	if got != 2 {
		t.Errorf("%d notes: %+v", got, v.verdicts)
	}
}

// xmllint fails the test unless a JUnit report is as its schema says.
func xmllint(t *testing.T, file string) {
	t.Helper()
	needs.Program(t, "xmllint")
	if out, err := exec.Command("xmllint", "--noout", "--schema", filepath.FromSlash("../../docs/schema/junit.xsd"), file).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
