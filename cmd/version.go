package cmd

import (
	"fmt"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

// Version is set by the linker where a release is built.
var Version = ""

func versionCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:            "version",
		Usage:           "print the version of this program",
		UsageText:       "provision version",
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return usagef("unexpected argument %q", c.Args().First())
			}
			return printVersion(env)
		},
	}
}

func printVersion(env Env) error {
	_, err := fmt.Fprintf(env.Stdout, "provision %s\n", version())
	return err
}

func version() string {
	if Version != "" {
		return Version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, changed := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = " with changes"
		}
	}
	if revision == "" {
		return info.Main.Version
	}
	return fmt.Sprintf("%s (commit %s%s)", info.Main.Version, revision[:min(12, len(revision))], changed)
}
