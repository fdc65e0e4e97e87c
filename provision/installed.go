package provision

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// LookProgram returns the program that looks at a host for the steps that
// user has the rights to look for. It is the same for the same steps, so that
// it can be installed, and recognised. It takes its mark as its only argument.
func LookProgram(steps []Step, user string) (string, error) {
	jobs, _ := installed(steps, user)
	text, err := new(program).write(jobs, 0, user, `"$1"`)
	return string(text), err
}

// installed returns the jobs of a [LookProgram]. Probes of root run as user:
// they report what they could not see.
func installed(steps []Step, user string) ([]job, []probe) {
	var jobs []job
	probes := probesOf(steps)
	for _, p := range probes {
		script := p.script
		script.User = user
		jobs = append(jobs, job{script: script, probe: true})
	}
	return jobs, probes
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
type OutdatedError struct{ Installed string }

func (e *OutdatedError) Error() string {
	return "the verify script on the host is not the one of this inventory and this version of provision"
}

// Hint implements [hint.Error].
func (*OutdatedError) Hint() string {
	return "run apply, if one of these is newer than the last one; else somebody has altered it there"
}

// CheckThrough is [Check] with the rights of user alone: open asks the gate
// of the host for the answer of its installed [LookProgram]. The error is an
// [OutdatedError] where that is not the one of these steps.
func CheckThrough(ctx context.Context, t Target, steps []Step, user string, open func(ctx context.Context, words string, out io.Writer) error) (Plan, error) {
	text, err := LookProgram(steps, user)
	if err != nil {
		return nil, at(t.Name, err)
	}
	jobs, probes := installed(steps, user)
	nonce := strings.TrimPrefix(newMark(), "@")
	prog := &program{marks: map[string]span{nonce + " ": {0, len(jobs)}}, digest: Digest(text)}

	asked := ask(ctx, t, steps)
	seen, err := runProgram(ctx, t, prog, nil, probes, func(ctx context.Context, out io.Writer) error {
		return open(ctx, "verify "+nonce+" "+GateProtocol, out)
	}, func(Event) {})
	seen, err = merge(seen, err, <-asked, steps)
	if err != nil {
		return nil, err
	}
	plan, err := PlanFor(steps, seen)
	return plan, at(t.Name, err)
}

// same compares the digest that a gate told with the one that is expected.
func (p *program) same(digest string) error {
	if p.digest == "" {
		return fmt.Errorf("the host names a verify script that nobody asked for")
	}
	if p.digest != digest {
		return &OutdatedError{digest}
	}
	p.proved = true
	return nil
}
