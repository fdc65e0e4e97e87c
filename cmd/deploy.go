package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"provision/cmd/fleet"
	"provision/cmd/output"
	"provision/inventory"
	"provision/provision"
	"provision/provision/hint"
	"provision/steps"
	"provision/templates"
)

type deployOptions struct {
	fleetOptions
	name    string
	version string
}

func deployCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "deploy",
		Usage:     "deploy as CI would, with the rights of an admin on the hosts",
		UsageText: "provision deploy [flags] DEPLOYMENT [INVENTORY]",
		Description: "Asks the gate of each host to pull the images and restart what changed, on one\n" +
			"host after the other in the order of the inventory. The first host that fails is\n" +
			"the last. A deploy that CI has begun is waited for. It needs nothing of GitLab.\n\n" +
			"A deploy that has begun goes on to its end, also when this is interrupted.",
		Flags: append(hostFlags(),
			&cli.StringFlag{Name: "tag", Usage: "`VERSION`: deploy this tag or digest, where the inventory names the variable for it"},
		),
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			name, fleet, err := deploymentOf(c)
			if err != nil {
				return err
			}
			if c.IsSet("tag") {
				if why := templates.BadVersion(c.String("tag")); why != "" {
					return usagef("--tag is %q: %s", c.String("tag"), why)
				}
			}
			return runDeploy(c.Context, env, deployOptions{fleet, name, c.String("tag")})
		},
	}
}

func runDeploy(ctx context.Context, env Env, o deployOptions) error {
	r, err := begin(env, o.fleetOptions)
	if err != nil {
		return err
	}
	parts, err := r.partsOf(o.name)
	if err != nil {
		return err
	}
	if name := parts[0].Deployments[0].Name; o.version != "" && parts[0].Deployments[0].Version == "" {
		return noVersion(usagef("the inventory lets nobody choose a version of %s", name), name)
	}
	r.parallel = 1
	f, err := r.open(ctx, fleet.Options{Parts: parts, Changes: true})
	if err != nil {
		return err
	}
	defer f.Close()
	report := r.report()
	ended := map[*inventory.Host]error{} // of those that it came to
	failed := false
	if _, err := f.Each(ctx, fleet.ThenClose, func(ctx context.Context, s *fleet.Site) error {
		if failed {
			return nil
		}
		err := r.deployTo(ctx, report, s, o.version)
		ended[s.Host], failed = err, err != nil
		return err
	}); err != nil {
		return err
	}
	left := 0
	for _, s := range f.Sites {
		switch err, tried := ended[s.Host]; {
		case !tried, errors.Is(err, context.Canceled):
			left++
			report.Say(r.lineOf(s, output.Line{Event: "not deployed", Text: "not deployed"}))
		case err != nil:
			report.Fail(s.Host.Name, err)
		}
	}
	text := output.Count(report.Tally.Hosts, "host") + " deployed"
	if report.Tally.Failed > 0 {
		text += fmt.Sprintf(", %d failed", report.Tally.Failed)
	}
	if left > 0 {
		text += fmt.Sprintf(", %d not deployed", left)
	}
	report.Last(text, cost(f))
	switch {
	case report.Tally.Failed > 0:
		return errReported
	case left > 0:
		return errors.New("interrupted")
	}
	return nil
}

// deployTo deploys to one host, and prints what the deploy says.
func (r *run) deployTo(ctx context.Context, report *output.Report, s *fleet.Site, version string) error {
	d := s.Deployments[0]
	t, err := s.Target(ctx)
	if err != nil {
		return err
	}
	report.Live.Doing(s.Host.Name, "deploy "+d.Name)
	refused := ""
	facts, err := provision.Follow(ctx, t, steps.Deploy(d, version, t.By), func(line string) {
		if strings.HasPrefix(line, steps.Refused) {
			refused = line
			return
		}
		if text := strings.TrimPrefix(strings.TrimSpace(line), "provision: "); text != "" {
			report.Say(r.lineOf(s, output.Line{Event: "progress", Text: text}))
		}
	})
	var lacks *provision.StepError
	switch {
	case errors.Is(err, provision.ErrUnknown):
		why := "the connection is lost"
		if ctx.Err() != nil {
			why = "interrupted"
		}
		return hint.Add(fmt.Errorf("%s: %s; a deploy that has begun goes on to its end", s.Host.Name, why),
			"provision log --limit %s --since 1h %s tells how it has ended", hint.Quote(s.Host.Name), hint.Quote(r.inventory))
	case errors.As(err, &lacks) && lacks.Status != 0:
		return r.applyHint(err, s)
	case err != nil:
		return err
	case refused != "" && facts.Get("status") == "126":
		return r.refusal(refused, s)
	}
	return r.ended(report, s, facts)
}

// refusal is the error of a gate that refuses to deploy.
func (r *run) refusal(line string, s *fleet.Site) error {
	code, sentence, _ := strings.Cut(strings.TrimPrefix(line, steps.Refused), ": ")
	err := fmt.Errorf("%s: refused: %s: %s", s.Host.Name, code, sentence)
	switch code {
	case "no-version":
		return noVersion(err, s.Deployments[0].Name)
	case "key-revoked": // what an older one says of an admin, who has no key
		return r.applyHint(fmt.Errorf("%s: the gate of the host is older than this program", s.Host.Name), s)
	case "unknown-deployment", "wrong-user", "not-cloned":
		return r.applyHint(err, s)
	}
	return err
}

// withInventory completes a command in a hint of a gate, which knows no inventory, so that
// it is about the same hosts.
func (r *run) withInventory(text string) string {
	words := ""
	for _, pattern := range r.limit {
		words += " --limit " + hint.Quote(pattern)
	}
	return strings.ReplaceAll(text, " INVENTORY", words+" "+hint.Quote(r.inventory))
}

func noVersion(err error, deployment string) error {
	return hint.Add(err, `write version = "TAG" into deployments.%s, where compose.yaml has ${TAG}, and apply`, deployment)
}

// ended prints how a deploy has ended. One that has failed is an error.
func (r *run) ended(report *output.Report, s *fleet.Site, facts provision.Facts) error {
	outcome, details, hints := "", []string(nil), []string(nil)
	for _, line := range facts["outcome"] {
		if text, ok := strings.CutPrefix(line, "provision: "); ok {
			outcome = text
		} else if text, ok := strings.CutPrefix(line, "hint: "); ok {
			hints = append(hints, r.withInventory(text))
		} else {
			details = append(details, line)
		}
	}
	if status := facts.Get("status"); status != "" || outcome == "" {
		if outcome == "" {
			outcome = "the gate does not say how the deploy has ended; its exit status is " + cmp.Or(status, "0")
		}
		for _, line := range details {
			report.Say(r.lineOf(s, output.Line{Event: "progress", Text: line}))
		}
		err := fmt.Errorf("%s: %s", s.Host.Name, outcome)
		for _, text := range hints {
			err = hint.Add(err, "%s", text)
		}
		return err
	}
	report.Tally.Hosts++
	report.Say(r.lineOf(s, output.Line{Event: "deployed", Text: outcome, Detail: strings.Join(details, "\n"), Hints: hints}))
	return nil
}
