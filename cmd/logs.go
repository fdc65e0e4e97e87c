package cmd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"provision/cmd/fleet"
	"provision/cmd/output"
	"provision/provision"
	"provision/steps"
)

// defaultTail is how many lines of each container are printed.
const defaultTail = "100"

// eraseLine, made visible, is what some versions of Compose begin each line with,
// whatever they print to. What a container has printed stands behind its name.
const eraseLine = `\x1b[2K`

type logsOptions struct {
	fleetOptions
	name  string
	query steps.LogsQuery
}

func logsCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "logs",
		Usage:     "print what the containers of a deployment have printed",
		UsageText: "provision logs [flags] DEPLOYMENT [INVENTORY]",
		Description: "Runs docker compose logs as the deploy user, on all hosts side by side; of several\n" +
			"hosts each line begins with the name of its own. Control characters are made\n" +
			"visible. It needs the rights of an admin on the hosts, and nothing of GitLab.",
		Flags: append(hostFlags(),
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with what they print, until interrupted or all have ended"},
			&cli.StringFlag{Name: "since", Usage: "`TIME`: no older than 90m, 24h, 7d, or a date as 2026-01-31"},
			&cli.StringFlag{Name: "tail", Aliases: []string{"n"}, Usage: "`LINES`: so many of each container, or all (default: " + defaultTail + "; with --since, all)"},
			&cli.StringSliceFlag{Name: "service", Aliases: []string{"s"}, Usage: "`SERVICE`: only this one of compose.yaml; may be repeated"},
		),
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			name, fleet, err := deploymentOf(c)
			if err != nil {
				return err
			}
			query, err := logsQueryOf(c, time.Now())
			if err != nil {
				return err
			}
			return runLogs(c.Context, env, logsOptions{fleet, name, query})
		},
	}
}

func logsQueryOf(c *cli.Context, now time.Time) (steps.LogsQuery, error) {
	q := steps.LogsQuery{Services: c.StringSlice("service"), Tail: defaultTail, Follow: c.Bool("follow")}
	if c.IsSet("since") {
		since, err := sinceOf(c.String("since"), now)
		if err != nil {
			return q, err
		}
		q.Since, q.Tail = since.UTC().Format(time.RFC3339Nano), "all"
	}
	if tail := c.String("tail"); c.IsSet("tail") {
		if _, err := strconv.ParseUint(tail, 10, 31); err != nil && tail != "all" {
			return q, usagef("--tail wants a number of lines, or all, not %q", tail)
		}
		q.Tail = tail
	}
	return q, nil
}

func runLogs(ctx context.Context, env Env, o logsOptions) error {
	r, err := begin(env, o.fleetOptions)
	if err != nil {
		return err
	}
	parts, err := r.partsOf(o.name)
	if err != nil {
		return err
	}
	r.parallel = len(parts)
	r.live = &output.Live{} // what is printed shows what is under way
	f, err := r.open(ctx, fleet.Options{Parts: parts})
	if err != nil {
		return err
	}
	defer f.Close()
	report := r.report()
	var lines atomic.Int64
	errs, err := f.Each(ctx, fleet.ThenClose, func(ctx context.Context, s *fleet.Site) error {
		t, err := s.Target(ctx)
		if err == nil {
			_, err = provision.Follow(ctx, t, steps.Logs(s.Deployments[0], o.query), func(line string) {
				lines.Add(1)
				l := r.lineOf(s, output.Line{Event: "output", Text: strings.TrimPrefix(line, eraseLine)})
				if !report.JSON && len(parts) == 1 {
					l.Host = ""
				}
				report.Say(l)
			})
		}
		if err != nil && ctx.Err() == nil {
			report.Fail(s.Host.Name, err) // others may go on for long
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, err := range errs {
		if err == nil || o.query.Follow && errors.Is(err, context.Canceled) {
			report.Tally.Hosts++
		}
	}
	text := fmt.Sprintf("%s, %s", output.Count(len(parts), "host"), output.Count(int(lines.Load()), "line"))
	if report.Tally.Failed > 0 {
		text += fmt.Sprintf(", %s failed", output.Count(report.Tally.Failed, "host"))
	}
	report.Last(text, cost(f))
	switch {
	case ctx.Err() != nil && !o.query.Follow:
		return errors.New("interrupted")
	case report.Tally.Failed > 0:
		return errReported
	}
	return nil
}
