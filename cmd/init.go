package cmd

import "github.com/urfave/cli/v2"

func initCommand(env Env) *cli.Command { return &cli.Command{Name: "init", UsageText: "provision init [flags] [FILE]", Usage: "write"} }
