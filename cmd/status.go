package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"provision/cmd/fleet"
	"provision/cmd/output"
	"provision/cmd/verify"
	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
	"provision/provision/hint"
	"provision/provision/visible"
	"provision/steps"
)

func statusCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "status",
		Usage:     "show what runs on hosts, since when, and how the last deploys ended",
		UsageText: "provision status [flags] [INVENTORY]",
		Description: "Prints a table with a line for each deployment of each host: how many of its\n" +
			"services are up, of those that Compose wants; their version; since when they\n" +
			"run; how the last deploy ended, and by which key; and how many commits the\n" +
			"clone is behind its branch. It needs the rights of an admin on the hosts; only\n" +
			"BEHIND is asked of GitLab, where there is a token. It tells and does not judge:\n" +
			"what is not up is no failure here, see verify.",
		Flags:           fleetFlags(),
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			fleet, err := fleetOptionsOf(c)
			if err != nil {
				return err
			}
			return runStatus(c.Context, env, fleet)
		},
	}
}

func runStatus(ctx context.Context, env Env, o fleetOptions) error {
	r, err := begin(env, o)
	if err != nil {
		return err
	}
	parts, err := r.deployed()
	if err != nil {
		return err
	}
	f, err := r.open(ctx, fleet.Options{Parts: parts})
	if err != nil {
		return err
	}
	defer f.Close()
	commits := sync.OnceValues(func() (forge.Branches, error) { return r.commits(ctx) })
	go commits()
	report := r.report()
	found := map[*inventory.Deployment]*standing{}
	var mu sync.Mutex
	errs, err := f.Each(ctx, fleet.ThenClose, func(ctx context.Context, s *fleet.Site) error {
		var looks []provision.Step
		for _, d := range s.Deployments {
			looks = append(looks, steps.Status(d))
		}
		l, err := lookFor(ctx, s, looks)
		if err != nil {
			return err
		}
		for i, d := range s.Deployments {
			st := standingOf(d, l.seen.Of(looks[i].Name()))
			if gitlab, err := commits(); err == nil {
				st.askBehind(ctx, gitlab, d)
			}
			mu.Lock()
			found[d] = st
			mu.Unlock()
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !report.JSON {
		report.Table(statusTable(report, f.Sites, found))
	}
	deployments, ill := 0, 0
	failed := outcomes(report, f.Sites, errs, func(s *fleet.Site, err error) {
		if err != nil {
			return
		}
		report.Tally.Hosts++
		for _, d := range s.Deployments {
			deployments++
			if found[d].line.Ill() {
				ill++
			}
			found[d].print(report)
		}
	})
	if _, unasked := commits(); unasked != nil {
		fmt.Fprintf(env.Stderr, "provision: how far clones are behind is not known: %s%s\n", visible.String(unasked.Error()), output.HintLines(hint.Of(unasked)))
	}
	text := fmt.Sprintf("%s, %s", output.Count(report.Tally.Hosts+report.Tally.Failed, "host"), output.Count(deployments, "deployment"))
	if ill > 0 {
		text += fmt.Sprintf(", %d of them not fully up", ill)
	}
	if report.Tally.Failed > 0 {
		text += fmt.Sprintf(", %s failed", output.Count(report.Tally.Failed, "host"))
	}
	report.Last(text, cost(f))
	if failed {
		return errReported
	}
	return nil
}

// patience is how long GitLab is waited for, as it is asked for one column alone.
const patience = 30 * time.Second

// commits returns the GitLab to ask how far clones are behind, or else why nobody is
// asked. That stops nothing: hosts are looked at where GitLab is away, too.
func (r *run) commits(ctx context.Context) (forge.Branches, error) {
	if token := r.inv.GitLab.Token; !verify.HasToken(token, os.Getenv) {
		return nil, fmt.Errorf("there is no token of GitLab: $%s is not set", token.Env)
	}
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	f, err := r.open(ctx, fleet.Options{Scopes: []string{"read_api", "api"}}) // of no host
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Forge, f.WaitToken()
}

// A standing is how one deployment stands on its host.
type standing struct {
	line   output.Line
	behind error // why nobody knows how far behind it is
}

func standingOf(d *inventory.Deployment, f provision.Facts) *standing {
	l := output.Line{Status: &output.Status{}, Text: "it is not installed on the host", Hints: []string{"provision apply installs it"}}
	if text := f.Get("status"); len(f["status"]) > 0 {
		var err error
		if l, err = output.ReadStatus(text); err != nil {
			l = output.Line{Status: &output.Status{}, Text: err.Error(), Hints: hint.Of(err)}
		}
	}
	l.Event, l.Host, l.Deployment = "deployment", d.Host.Name, d.Name
	return &standing{line: l}
}

// askBehind counts the commits by which the clone is behind.
func (s *standing) askBehind(ctx context.Context, gitlab forge.Branches, d *inventory.Deployment) {
	branch := d.Branch
	if branch == "" {
		branch = s.line.Branch
	}
	switch {
	case s.line.Commit == "":
	case branch == "":
		s.behind = errors.New("the clone is at no branch")
	default:
		ctx, stop := context.WithTimeout(ctx, patience)
		defer stop()
		newest, err := gitlab.Newest(ctx, d.Project, branch)
		if n, ok := forge.Behind(newest, s.line.Commit); ok {
			s.line.Behind = &n
		} else if err == nil {
			err = fmt.Errorf("GitLab does not show %.12s among the newest commits of %s of project %s", s.line.Commit, branch, d.Project)
		}
		s.behind = err
	}
}
