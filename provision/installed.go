package provision

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
)

// LookProgram returns the program with which CI looks at a host. It is the same for
// the same steps, so that it can be installed, and recognised. It takes its mark as
// its only argument.
func LookProgram(steps []CIStep, user string) (string, error) {
	return lookProgram(ciProbesOf(steps, user), user)
}

func lookProgram(probes []ciProbe, user string) (string, error) {
	var jobs []job
	var shown []CIProbe
	for _, p := range probes {
		jobs = append(jobs, job{script: p.Script, probe: true})
		shown = append(shown, p.CIProbe)
	}
	const mark = `"$1"`
	text, err := new(program).write(jobs, 0, user, mark)
	call := []byte(callOfProgram)
	if err == nil && !bytes.HasSuffix(text, call) {
		err = fmt.Errorf("the program does not end with its call")
	}
	if err != nil {
		return "", err
	}
	return string(bytes.TrimSuffix(text, call)) + strings.TrimSpace(callOfProgram) + " 2>/dev/null | LC_ALL=C " + pipe(shown, mark) + "\n", nil
}

// A ciProbe looks for all steps that want to look in just that way.
type ciProbe struct {
	CIProbe
	steps []string
}

// ciProbesOf returns the probes that have a script. Each runs as user: it reports what
// it could not see.
func ciProbesOf(steps []CIStep, user string) (probes []ciProbe) {
	for _, s := range steps {
		p := s.LookAsCI()
		if p.Script.Text == "" {
			continue
		}
		p.Script.User = user
		same := func(other ciProbe) bool {
			return other.Script.Text == p.Script.Text && slices.Equal(other.Script.Args, p.Script.Args)
		}
		if i := slices.IndexFunc(probes, same); i >= 0 {
			probes[i].steps = append(probes[i].steps, s.Name())
			probes[i].Facts = probes[i].Facts.With(p.Facts)
			continue
		}
		probes = append(probes, ciProbe{p, []string{s.Name()}})
	}
	return probes
}

// GateProtocol is the version of what is asked of a gate, and of its answers. A
// gate of an older version refuses it, and one of a newer version what is older.
const GateProtocol = "2"

// Digest names a text: its SHA-256 in hexadecimal.
func Digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// An OutdatedError tells that the verify script on a host is not the one that
// this version of provision, with this inventory, has put there. What it says
// is not believed.
type OutdatedError struct{}

func (e *OutdatedError) Error() string {
	return "the verify script on the host is not the one of this inventory and this version of provision"
}

// Hint implements [hint.Error].
func (*OutdatedError) Hint() string {
	return "run apply, if one of these is newer than the last one; else somebody has altered it there"
}

// CheckThrough is [Check] with what CI may see: open asks the gate of the host for the
// answer of its installed [LookProgram]. The error is an [OutdatedError] where that
// is not the one of these steps. Nothing of the answer gets into the plan or into an
// error but facts that have the shape of their probe.
func CheckThrough(ctx context.Context, t Target, steps []CIStep, user string, open func(ctx context.Context, words string, out io.Writer) error) (Plan, error) {
	shown := ciProbesOf(steps, user)
	text, err := lookProgram(shown, user)
	if err != nil {
		return nil, at(t.Name, err)
	}
	nonce := strings.TrimPrefix(newMark(), "@")
	prog := &program{marks: map[string]span{nonce + " ": {0, len(shown)}}, digest: Digest(text)}
	var probes []probe
	for _, p := range shown {
		probes = append(probes, probe{steps: p.steps, script: p.Script})
		prog.shapes = append(prog.shapes, p.told().Matcher())
	}

	all := AsSteps(steps)
	asked := ask(ctx, t, all)
	seen, err := runProgram(ctx, t, prog, nil, probes, func(ctx context.Context, out io.Writer) error {
		return open(ctx, "verify "+nonce+" "+GateProtocol, out)
	}, func(Event) {})
	seen, err = merge(t.Name, seen, err, <-asked, all)
	if err != nil {
		return nil, err
	}
	plan, err := PlanFor(all, seen)
	return plan, at(t.Name, err)
}

// AsSteps returns steps that CI may look at as steps.
func AsSteps(steps []CIStep) []Step {
	var all []Step
	for _, s := range steps {
		all = append(all, s)
	}
	return all
}

// same compares the digest that a gate told with the one that is expected.
func (p *program) same(digest string) error {
	if p.digest == "" {
		return fmt.Errorf("the host names a verify script that nobody asked for")
	}
	if p.digest != digest {
		return &OutdatedError{}
	}
	p.proved = true
	return nil
}
