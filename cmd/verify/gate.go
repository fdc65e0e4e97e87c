package verify

import (
	"context"
	"errors"
	"io"
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
	list := steps.ForCI(f.Inventory, d, f.Given)
	t := s.Gate()
	v.asSeen(&t, jobOf(d, key))
	plan, err := provision.CheckThrough(ctx, t, list, d.User, func(ctx context.Context, words string, out io.Writer) error {
		return ownWords(conn.Ask(ctx, words, out))
	})
	if plan != nil {
		verdicts, err := judge(d.Host.Name, d.Name, provision.AsSteps(list), v.mode.expects(), plan, err)
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

// refusals are the codes with which a gate refuses, and what each of them means. A host
// tells the code: its words are for no report.
var refusals = map[string]string{
	"unknown-deployment": "no such deployment",
	"wrong-user":         "this deployment belongs to another user",
	"key-revoked":        "this key is no longer allowed",
	"no-version":         "the inventory lets nobody choose a version of this deployment",
	"bad-version":        "a version is a tag or a digest",
	"old-program":        "the program that asks is older than this gate: upgrade provision there",
	"bad-nonce":          "a nonce has 32 hexadecimal digits",
	"not-installed":      "there is nothing installed to look with",
	"not-allowed":        "this key allows only: deploy, status, verify",
	"not-cloned":         "the deployment is not there yet",
	"home-read-only":     "the home of the user cannot be written: is the disk full?",
	"too-many-sessions":  "too many sessions; try again later",
}

// noLogin is what nologin(8) says.
const noLogin = "This account is currently not available."

// ownWords has an error of the gate in words of our own.
func ownWords(err error) error {
	var exit *remote.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	own := &remote.ExitError{Status: exit.Status}
	if exit.Stderr == noLogin {
		own.Stderr = noLogin
	}
	if reason, ok := strings.CutPrefix(exit.Stderr, refusal); ok {
		own.Stderr = refusal
		if code, _, _ := strings.Cut(strings.TrimSpace(reason), ": "); refusals[code] != "" {
			own.Stderr += code + ": " + refusals[code]
		} else if refusalCode.MatchString(code) {
			own.Stderr += "another-reason: it says why to an admin"
		}
	}
	return own
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
