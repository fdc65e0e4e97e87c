package cmd

import (
	"github.com/urfave/cli/v2"

	"provision/inventory"
)

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
				return usagef("unexpected argument %q", c.Args().First())
			}
			_, err := env.Stdout.Write(inventory.Schema())
			return err
		},
	}
}
