package cmd

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

type rehearseOptions struct {
	inventory string // "" is the example
	keep      bool
}

func rehearseCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "rehearse",
		Usage:     "try an inventory on throwaway hosts of this machine",
		UsageText: "provision rehearse [flags] [INVENTORY]",
		Description: "Boots the hosts of the inventory (or of the example that comes with the program)\n" +
			"in namespaces of this machine, with a registry and a stand-in for GitLab, and\n" +
			"runs plan, apply, a deploy as CI does it, and apply again. It needs root on a\n" +
			"Debian machine. Nothing outside is touched, and nothing is left.",
		Flags:           []cli.Flag{&cli.BoolFlag{Name: "keep", Usage: "leave everything up at the end, until an interrupt, and say how to reach it"}},
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			o := rehearseOptions{keep: c.Bool("keep")}
			if c.NArg() > 0 {
				var err error
				if o.inventory, err = oneArgument(c, "INVENTORY"); err != nil {
					return err
				}
			}
			return runRehearse(c.Context, env, o)
		},
	}
}

// exitCode is the code of the same program inside the lab, which has printed
// everything there is to say.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }
