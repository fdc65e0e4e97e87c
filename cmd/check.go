package cmd

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"provision/inventory"
)

func checkCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "read an inventory, and say all that is wrong with it",
		UsageText: "provision check [INVENTORY]",
		Description: "Reads the inventory and the files that it names, and nothing else: neither a\n" +
			"host nor GitLab is asked, and no secret is read.",
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			file, err := inventoryOf(c, c.Args().Slice())
			if err != nil {
				return err
			}
			inv, err := inventory.Load(file)
			if err != nil {
				return usageError{err}
			}
			fmt.Fprintf(env.Stdout, "%s is fine: %s\n", visibleLines(file), sizeOf(inv))
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
	return count(len(inv.Hosts), "host") + ", " + count(len(deployments), "deployment")
}

func schemaCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "schema",
		Usage:     "print the JSON Schema of inventories, for editors",
		UsageText: "provision schema",
		Description: "Editors complete and check an inventory that has the path of the schema in its\n" +
			"first line:\n\n  #:schema ./provision.schema.json",
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return usagef("schema takes no argument, not %q", c.Args().First())
			}
			_, err := env.Stdout.Write(inventory.Schema())
			return err
		},
	}
}
