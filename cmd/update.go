package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"

	"github.com/urfave/cli/v2"

	"provision/cmd/fleet"
	"provision/cmd/output"
	"provision/provision/hint"
	"provision/steps"
)

type updateOptions struct {
	fleetOptions
	commit string
	yes    bool
}

func updateCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "update",
		Usage:     "bring the clone of a deployment to the newest commit of its branch",
		UsageText: "provision update [flags] [INVENTORY]",
		Description: "Fetches, shows the new commits and what they change for Compose, and asks. Then\n" +
			"the clone is moved; what runs stays as it is until the next deploy. No deploy\n" +
			"reads the project meanwhile. apply clones, and never does this by itself.\n\n" +
			"A branch that the inventory names and the clone is not at is switched to. Where\n" +
			"something would be lost, such as local changes, files that are not of the project,\n" +
			"or commits that the branch does not have, nothing is done and all is told.\n\n" +
			"It needs the rights of an admin on the hosts, and nothing of GitLab.",
		Flags: append(fleetFlags(), lockWaitFlag(),
			&cli.StringFlag{Name: "commit", Usage: "`SHA`: bring it to this commit of its branch; an older one goes back"},
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"},
		),
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			fleet, err := fleetOptionsOf(c)
			if err != nil {
				return err
			}
			o := updateOptions{fleet, c.String("commit"), c.Bool("yes")}
			if o.commit != "" && !commitForm.MatchString(o.commit) {
				return usagef("--commit wants the id of a commit, at least 7 digits of it, not %q", o.commit)
			}
			return runUpdate(c.Context, env, o)
		},
	}
}

var commitForm = regexp.MustCompile(`^[0-9a-f]{7,64}$`)

func runUpdate(ctx context.Context, env Env, o updateOptions) error {
	r, err := begin(env, o.fleetOptions)
	if err != nil {
		return err
	}
	parts, err := r.deployed()
	if err != nil {
		return err
	}
	if o.commit != "" {
		if err := oneProject(parts); err != nil {
			return err
		}
	}
	f, err := r.open(ctx, fleet.Options{Parts: parts, Changes: true})
	if err != nil {
		return err
	}
	defer f.Close()

	var mu sync.Mutex
	shown := map[*fleet.Site]look{} // what is shown is what is done, however new the branch is by then
	missing, failed := r.plan(ctx, f, fleet.ThenKeep, func(ctx context.Context, s *fleet.Site) (look, error) {
		l, err := lookFor(ctx, s, steps.Update(f.Inventory, s.Host, s.Deployments, o.commit))
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			shown[s] = l
		}
		return l, err
	}, nil)
	if ctx.Err() != nil {
		return errors.New("interrupted; nothing is updated")
	}
	if failed != nil && !errors.Is(failed, errReported) || missing == 0 {
		return failed
	}
	if !o.yes {
		if !r.ask.terminal() {
			fmt.Fprint(env.Stderr, output.ErrorLines(env.Stderr, "nothing is updated, as there is no terminal to ask"+output.HintLines([]string{"with --yes it is done without a question"})))
			return cmp.Or(failed, errMissing)
		}
		confirmed, err := r.ask.confirm(ctx, fmt.Sprintf("update %s?", output.Count(missing, "clone")))
		if ctx.Err() != nil {
			return errors.New("interrupted; nothing is updated")
		}
		if err != nil {
			return err
		}
		if !confirmed {
			return errors.New("nothing is updated")
		}
	}
	all := f.Sites
	defer func() { f.Sites = all }()
	f.Sites = slices.DeleteFunc(slices.Clone(all), func(s *fleet.Site) bool { return len(steps.Confirmed(shown[s].steps, shown[s].seen)) == 0 })
	err = r.apply(ctx, f, func(ctx context.Context, s *fleet.Site) (look, error) {
		t, err := s.Target(ctx)
		l := shown[s]
		return look{t, steps.Confirmed(l.steps, l.seen), l.seen}, err
	})
	return errors.Join(err, failed)
}

// oneProject is an error unless the clones are all of one project: a commit is of
// no other.
func oneProject(parts []fleet.Part) error {
	var projects []string
	for _, p := range parts {
		for _, d := range p.Deployments {
			if !slices.Contains(projects, d.Project) {
				projects = append(projects, d.Project)
			}
		}
	}
	if len(projects) > 1 {
		return hint.Add(usagef("--commit is of one project, and the deployments are of %s", output.Count(len(projects), "project")), "--limit selects some of them")
	}
	return nil
}
