package cmd

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"provision/cmd/usage"
	"provision/inventory"
	"provision/provision/hint"
)

// The groups of flags in help texts.
const (
	groupHosts  = "Hosts"
	groupOutput = "Output"
)

// examples are command lines, each as it would be typed.
var examples = map[string][]string{
	"init":       {"provision init", "provision init --gitlab https://git.example.com --project transmogrify/frobnicator --host admin@deploy-host.example.com"},
	"check":      {"provision check inventory.toml"},
	"rehearse":   {"provision rehearse", "provision rehearse --keep inventory.toml"},
	"plan":       {"provision plan inventory.toml", "provision plan --limit 'web*' --exit-code inventory.toml"},
	"apply":      {"provision apply inventory.toml", "provision apply --limit frobnicator-staging inventory.toml"},
	"verify":     {"provision verify inventory.toml", "provision verify --junit verify.xml --shard 1/3 inventory.toml"},
	"update":     {"provision update --limit frobnicator-staging inventory.toml", "provision update --commit 1a2b3c4 --limit frobnicator-production inventory.toml"},
	"rotate-key": {"provision rotate-key inventory.toml", "provision rotate-key --only ci-key --limit web2 inventory.toml"},
	"remove":     {"provision remove --deployment frobnicator-staging inventory.toml", "provision remove --gone web3 inventory.toml"},
	"clean":      {"provision clean inventory.toml"},
	"status":     {"provision status inventory.toml", "provision status --limit web1 --output json inventory.toml"},
	"log":        {"provision log --limit web1 --since 24h inventory.toml"},
	"deploy":     {"provision deploy frobnicator-production inventory.toml", "provision deploy --limit web1 --tag 1.4.2 frobnicator-production inventory.toml"},
	"move":       {"provision move --to web2 --volumes frobnicator-staging inventory.toml"},
	"logs":       {"provision logs frobnicator-production inventory.toml", "provision logs --follow --since 10m --service frobnicator frobnicator-staging"},
	"map":        {"provision map inventory.toml", "provision map --format svg inventory.toml >map.svg"},
	"render":     {"provision render ci inventory.toml", "provision render gate --host web1 inventory.toml"},
	"schema":     {"provision schema >provision.schema.json"},
	"completion": {"provision completion bash >~/.local/share/bash-completion/completions/provision", "provision completion fish >~/.config/fish/completions/provision.fish"},
	"man":        {"provision man | man -l -"},
	"version":    {"provision version"},
	"help":       {"provision help apply"},
}

// exits are the exit codes of the commands that have more than the usual ones.
var exits = map[string]string{
	"plan":   "3  changes are needed, with --exit-code",
	"apply":  "3  something is left out, as it interrupts what runs",
	"verify": "3  drift was found",
	"clean":  "3  something is left that nobody has named",
	"update": "3  there is something to update, nobody to ask, and no --yes",
}

// exitCodes returns the exit codes of a command, one a line.
func exitCodes(command string) []string {
	codes := []string{"0  ok", "1  failed", "2  wrong usage or inventory; nothing was done"}
	if more := exits[command]; more != "" {
		codes = append(codes, more)
	}
	return codes
}

// group makes commands stand together in the help.
func group(name string, commands ...*cli.Command) []*cli.Command {
	for _, c := range commands {
		c.Category = name
		c.CustomHelpTemplate = helpOf(c)
	}
	return commands
}

func helpOf(c *cli.Command) string {
	section := func(title string, lines []string) string {
		return "\n" + title + ":\n   " + strings.Join(lines, "\n   ") + "\n"
	}
	return `NAME:
   {{template "helpNameTemplate" .}}

USAGE:
   {{template "usageTemplate" .}}{{if .Description}}

DESCRIPTION:
   {{template "descriptionTemplate" .}}{{end}}
` + section("EXAMPLE", examples[c.Name]) + flagSection(c.Flags) + section("EXIT CODES", exitCodes(c.Name))
}

// flagSection lists flags in their groups, by name. That each command has --help
// too, the help of the program says.
func flagSection(flags []cli.Flag) string {
	if len(flags) == 0 {
		return ""
	}
	text := "\nFLAGS:\n"
	for _, group := range []string{"", groupHosts, groupOutput} {
		var lines []string
		for _, f := range flags {
			if c, ok := f.(cli.CategorizableFlag); ok && c.GetCategory() == group {
				lines = append(lines, "   "+flagLine(f)+"\n")
			}
		}
		slices.SortFunc(lines, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
		switch {
		case len(lines) == 0:
			continue
		case group != "" && text != "\nFLAGS:\n":
			text += "\n   " + group + "\n\n"
		case group != "":
			text += "   " + group + "\n\n"
		}
		text += strings.Join(lines, "")
	}
	return text
}

// appHelp is the help of the program: its commands, by their groups.
func appHelp() string {
	return `NAME:
   {{template "helpNameTemplate" .}}

USAGE:
   {{.UsageText}}

DESCRIPTION:
   {{template "descriptionTemplate" .}}

COMMANDS:{{range .VisibleCategories}}{{if .Name}}
   {{.Name}}:{{range .VisibleCommands}}
     {{.Name}}{{"\t"}}{{.Usage}}{{end}}
{{end}}{{end}}`
}

func helpCommand() *cli.Command {
	return &cli.Command{
		Name:            "help",
		Aliases:         []string{"h"},
		Usage:           "list the commands, or show the help of one",
		UsageText:       "provision help [COMMAND]",
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			name := c.Args().First()
			switch {
			case name == "":
				return cli.ShowAppHelp(c)
			case c.App.Command(name) == nil:
				return noCommand(c.App, name)
			}
			return cli.ShowCommandHelp(c, name)
		},
	}
}

func noCommand(app *cli.App, name string) error {
	var names []string
	for _, c := range app.VisibleCommands() {
		names = append(names, c.Name)
	}
	return hint.Add(usagef("there is no command %q%s", name, didYouMean(name, names)), "provision help lists them")
}

// flagLine is how the help shows a flag: its names with what it wants, a tab,
// and what it is for.
func flagLine(f cli.Flag) string {
	text := strings.Join(flagWords(f), ", ")
	if takesValue(f) {
		text += " " + placeholder(f)
	}
	text += "\t" + meaning(f)
	if otherwise := defaultOf(f); otherwise != "" {
		text += " (default: " + otherwise + ")"
	}
	return text
}

// meaning returns what a flag is for. What it wants stands before that already.
func meaning(f cli.Flag) string {
	return strings.TrimPrefix(strings.ReplaceAll(usageOf(f), "`", ""), placeholder(f)+": ")
}

// flagWords returns the names of a flag as they are typed.
func flagWords(f cli.Flag) []string {
	var words []string
	for _, n := range f.Names() {
		dashes := "--"
		if len(n) == 1 {
			dashes = "-"
		}
		words = append(words, dashes+n)
	}
	return words
}

// defaultOf returns what holds without a flag, or "" where that is nothing.
func defaultOf(f cli.Flag) string {
	d, ok := f.(cli.DocGenerationFlag)
	if !ok || !takesValue(f) {
		return ""
	}
	switch value := strings.Trim(d.GetValue(), `"[]`); value {
	case "0", "0s":
		return ""
	default:
		return value
	}
}

// onAppUsageError is for flags before the command: there are hardly any.
func onAppUsageError(_ *cli.Context, err error, _ bool) error {
	if name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); unknown {
		err = fmt.Errorf("there is no flag --%s before a command: flags stand behind it", strings.TrimLeft(name, "-"))
	}
	return hint.Add(usage.Error{Err: err}, "provision help lists the commands")
}

func onUsageError(c *cli.Context, err error, _ bool) error {
	if name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); unknown {
		var names []string
		for _, f := range c.Command.VisibleFlags() {
			for _, n := range f.Names() {
				if len(n) > 1 {
					names = append(names, n)
				}
			}
		}
		name = strings.TrimLeft(name, "-")
		meant := ""
		if found := inventory.Nearest(name, names); found != "" {
			meant = "; did you mean --" + found + "?"
		}
		err = fmt.Errorf("there is no flag --%s%s", name, meant)
	}
	return hint.Add(usage.Error{Err: err}, "provision %s --help shows the flags", c.Command.Name)
}

// didYouMean returns a question to end an error with, or "".
func didYouMean(word string, names []string) string {
	if found := inventory.Nearest(word, names); found != "" {
		return "; did you mean " + found + "?"
	}
	return ""
}
