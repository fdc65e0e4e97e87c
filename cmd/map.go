package cmd

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"provision/cmd/access"
	"provision/cmd/usage"
	"provision/inventory"
)

var mapFormats = []string{"mermaid", "svg", "dot"}

func mapCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "map",
		Usage:     "draw who can do what, and what each credential opens if it is stolen",
		UsageText: "provision map [flags] [INVENTORY]",
		Description: "Reads the inventory and nothing else: neither a host nor GitLab is asked. GitLab\n" +
			"draws mermaid in its own pages, in a block of code ```mermaid; dot is for\n" +
			"Graphviz.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: "mermaid", Usage: "`" + strings.Join(mapFormats, "|") + "`: the format of the drawing"},
			&cli.StringSliceFlag{Name: "limit", Aliases: []string{"l"}, Usage: "`PATTERN`: only these hosts or deployments; with * and ?"},
		},
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			file, err := inventoryOf(c, c.Args().Slice())
			if err != nil {
				return err
			}
			return runMap(env, file, c.String("format"), c.StringSlice("limit"))
		},
	}
}

func runMap(env Env, file, format string, limit []string) error {
	if !slices.Contains(mapFormats, format) {
		return usagef("--format is %s, not %q", strings.Join(mapFormats, ", "), format)
	}
	inv, err := inventory.Load(file)
	if err != nil {
		return usage.Error{Err: err}
	}
	selected, err := inv.Select(limit)
	if err != nil {
		return usage.Error{Err: err}
	}
	if len(selected.Deployments) == 0 {
		return usagef("%s has no deployment", file)
	}
	m := access.Of(inv, selected.Deployments)
	switch format {
	case "svg":
		return m.SVG(env.Stdout)
	case "dot":
		return m.Dot(env.Stdout)
	}
	return m.Mermaid(env.Stdout)
}
