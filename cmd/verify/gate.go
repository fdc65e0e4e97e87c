package verify

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"provision/cmd/fleet"
	"provision/cmd/output"
	"provision/inventory"
	"provision/provision"
	"provision/provision/remote"
	"provision/provision/secret"
	"provision/steps"
)

// A notGateError tells that what a CI key opens does not answer as the gate
// does.
type notGateError struct{ error }

func (e *notGateError) Unwrap() error { return e.error }

const (
	refusal    = steps.Refused // begins what the gate says against something
	otherSteps = "every other step, until apply has put it right"
)

// throughGate looks at a deployment as the gate lets its key look. What the
// gate itself says against that is a verdict too.
func (v *Verification) throughGate(ctx context.Context, f *fleet.Fleet, s *fleet.Site, d *inventory.Deployment, key secret.Value, conn fleet.Conn) error {
	given := f.Given
	given.Salt, given.AsUser = "", true
	list := steps.For(f.Inventory, d.Host, []*inventory.Deployment{d}, given)
	t := s.Gate()
	v.asSeen(&t, jobOf(d, key))
	plan, err := provision.CheckThrough(ctx, t, list, d.User, conn.Ask)
	if plan != nil {
		verdicts, err := judge(d.Host.Name, d.Name, list, v.mode.expects(), plan, err)
		if !v.mode.Token {
			unseenInJob(verdicts, d)
		}
		v.add(d.Host.Name, verdicts...)
		return err
	}
	var others []error
	for _, e := range output.Split(err) {
		step, reason := "", finding{}
		var outdated *provision.OutdatedError
		var exit *remote.ExitError
		var at *provision.StepError
		switch {
		case errors.As(e, &outdated):
			step, reason = "verify-script "+d.Name, findingOf(outdated)
		case errors.As(e, &exit) && exit.Status == 126:
			step, reason = refusedBy(exit.Stderr, d)
		}
		switch {
		case step != "":
			v.add(d.Host.Name, verdict{deployment: d.Name, step: step, wrong: []finding{reason}, unchecked: []string{otherSteps}})
		case errors.As(e, &at) && at.Step == "" && ctx.Err() == nil && !errors.Is(e, remote.ErrLost):
			return &notGateError{e}
		default:
			others = append(others, e)
		}
	}
	return errors.Join(others...)
}

// refusedBy tells which step is to blame where the gate refuses to look.
func refusedBy(said string, d *inventory.Deployment) (step string, why finding) {
	reason, ok := strings.CutPrefix(said, refusal)
	if !ok {
		return "", finding{}
	}
	code, sentence, _ := strings.Cut(strings.TrimSpace(reason), ": ")
	switch {
	case !refusalCode.MatchString(code): // it is of the time before there were codes
		return "gate", finding{"the gate of the host is older than this program", []string{"upgrade it: provision apply"}}
	case code == "not-installed":
		step = "verify-script "
	default:
		step = "deploy-settings "
	}
	return step + d.Name, finding{text: "the gate refuses to look: " + sentence}
}

var refusalCode = regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)

// unseenInJob says of the steps what a job of CI cannot know of variables.
func unseenInJob(verdicts []verdict, d *inventory.Deployment) {
	for i := range verdicts {
		switch v := &verdicts[i]; {
		case v.step == "ci-key "+d.Name:
			v.unseen = append(v.unseen, "the type, the scope and the protection of the variable cannot be seen without a token of GitLab")
		case v.step == "stale-variables "+d.Name && v.unseen == nil:
			v.unseen = []string{"variables that the job is not given cannot be seen without a token of GitLab"}
		}
	}
}
