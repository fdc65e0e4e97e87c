package cmd

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"provision/cmd/output"
	"provision/cmd/usage"
	"provision/inventory"
	"provision/provision/visible"
)

func checkCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "validate an inventory",
		UsageText: "provision check [INVENTORY]",
		Description: "Reads the inventory and the files that it names, and nothing else: neither a\n" +
			"host nor GitLab is asked, no command is run, and no secret is read. It tells\n" +
			"which of these plan and the other commands would use.",
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			file, err := inventoryOf(c, c.Args().Slice())
			if err != nil {
				return err
			}
			inv, err := inventory.Load(file)
			if err != nil {
				return usage.Error{Err: err}
			}
			fmt.Fprintf(env.Stdout, "%s is ok: %s\n", visible.Lines(file), sizeOf(inv))
			for _, use := range usesOf(inv) {
				fmt.Fprintln(env.Stdout, "plan "+use)
			}
			return nil
		},
	}
}

// sizeOf counts what an inventory speaks of; a deployment on several hosts is
// one.
func sizeOf(inv *inventory.Inventory) string {
	deployments := map[string]bool{}
	for _, d := range inv.Deployments {
		deployments[d.Name] = true
	}
	return output.Count(len(inv.Hosts), "host") + ", " + output.Count(len(deployments), "deployment")
}
