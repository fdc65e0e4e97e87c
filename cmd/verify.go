package cmd

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"provision/cmd/fleet"
	"provision/cmd/verify"
	"provision/inventory"
	"provision/provision/hint"
)

type verifyOptions struct {
	fleetOptions
	as     verify.Rights
	key    string // a file with the CI key
	junit  string // a file
	html   string // a file
	shard  verify.Shard
	renew  int  // days
	strict bool // a note is a reason to fail
}

func verifyCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "check deployments with the CI key only",
		UsageText: "provision verify [flags] [INVENTORY]",
		Description: "Logs in with the CI key, looks through the gate, and then tries everything\n" +
			"that this key must not do. The key is --key, else the file $SSH_AUTH of a CI job,\n" +
			"else what GitLab holds, if the token of the inventory is there; at a terminal\n" +
			"without any of them it looks with the rights of an admin.",
		Flags: append(fleetFlags(),
			&cli.StringFlag{Name: "key", Usage: "`FILE`: the CI key to log in with"},
			&cli.StringFlag{Name: "as", Value: "ci", Usage: "`ci|admin`: look with the rights of CI, or with all rights"},
			&cli.StringFlag{Name: "junit", Category: groupOutput, Usage: "`FILE`: write a JUnit report"},
			&cli.StringFlag{Name: "html", Category: groupOutput, Usage: "`FILE`: write an HTML page"},
			&cli.StringFlag{Name: "shard", Category: groupHosts, Usage: "`K/N`: only part K of N of the hosts (default: $CI_NODE_INDEX/$CI_NODE_TOTAL)"},
			&cli.IntFlag{Name: "renew", Value: 7, Usage: "`DAYS`: a token with fewer days left is drift; notes begin at 30"},
			&cli.BoolFlag{Name: "strict", Usage: "exit with 3 for notes, too"},
		),
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			fleet, err := fleetOptionsOf(c)
			if err != nil {
				return err
			}
			o := verifyOptions{fleetOptions: fleet, key: c.String("key"), junit: c.String("junit"), html: c.String("html"), renew: c.Int("renew"), strict: c.Bool("strict")}
			o.as = verify.Rights(c.String("as"))
			if o.as != verify.CI && o.as != verify.Admin {
				return usagef("--as is ci or admin, not %q", o.as)
			}
			if o.as == verify.Admin && o.key != "" {
				return usagef("--key is the CI key, which an admin does not use: leave out --as admin or --key")
			}
			if o.renew < 1 {
				return usagef("--renew wants a number of days, at least 1")
			}
			if o.shard, err = shardOf(c.String("shard")); err != nil {
				return err
			}
			return runVerify(c.Context, env, o)
		},
	}
}

// shardOf reads K/N. Without it, the job of CI may be one of several.
func shardOf(text string) (verify.Shard, error) {
	if text == "" {
		text = os.Getenv("CI_NODE_INDEX") + "/" + os.Getenv("CI_NODE_TOTAL")
		if strings.HasPrefix(text, "/") { // GitLab sets the total for every job
			return verify.Shard{K: 1, N: 1}, nil
		}
	}
	return verify.ParseShard(text)
}

func runVerify(ctx context.Context, env Env, o verifyOptions) error {
	r, err := begin(env, o.fleetOptions)
	if err != nil {
		return err
	}
	mode, err := verify.ModeOf(verify.Setting{
		As: o.as, Key: o.key, Limited: len(o.limit) > 0, Strict: o.strict, Page: o.html != "", Shard: o.shard, Terminal: r.ask.terminal(),
		SSHAuth: os.Getenv(inventory.CIKeyVariable), Environment: os.Getenv("CI_ENVIRONMENT_NAME"), Token: verify.HasToken(r.inv.GitLab.Token, os.Getenv),
	})
	if err != nil {
		return err
	}
	if mode.Unasked {
		fmt.Fprintln(env.Stderr, "provision: there is no CI key here (--key, $SSH_AUTH) and no token of GitLab: looking as an admin")
	}
	parts, err := r.all()
	if mode.As == verify.CI {
		if parts, err = r.deployed(); err != nil {
			err = hint.Add(err, "with --as admin, hosts without any are looked at too")
		}
	}
	if err != nil {
		return err
	}
	v, err := verify.New(mode, r.report())
	if err != nil {
		return err
	}
	options := fleet.Options{Parts: o.shard.Of(mode.Of(parts)), Registry: mode.As == verify.Admin, App: mode.As == verify.Admin}
	if mode.Token {
		options.Scopes = []string{"api", "read_api"}
	}
	f, err := r.open(ctx, options)
	if err != nil {
		return err
	}
	defer f.Close()
	f.Given.Renew = o.renew
	if err := v.Run(ctx, f); err != nil {
		return err
	}
	if o.junit != "" {
		if err := v.WriteJUnit(o.junit); err != nil {
			return err
		}
	}
	if o.html != "" {
		if err := v.WritePage(ctx, o.html, f, verify.About{Inventory: o.inventory, Version: version()}); err != nil {
			return err
		}
	}
	switch {
	case v.Failed():
		return errReported
	case v.Drift():
		return errMissing
	}
	return nil
}
