package cmd

import (
	"embed"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"provision/inventory"
	"provision/provision/hint"
	"provision/provision/visible"
)

// The scripts ask the program itself what may stand at the cursor, see
// completeCommand, so that they are the same for every inventory and version.
//
//go:embed completion
var completionScripts embed.FS

var shells = []string{"bash", "zsh", "fish"}

func completionCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print the completion script of a shell",
		UsageText: "provision completion bash|zsh|fish",
		Description: "Completes commands, flags and files, and the names of hosts and deployments as\n" +
			"the inventory has them: the one on the command line, else inventory.toml, else\n" +
			"the only TOML file of the directory. For one session:\n\n" +
			"  bash  source <(provision completion bash)\n" +
			"  zsh   source <(provision completion zsh)\n" +
			"  fish  provision completion fish | source",
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			shell, err := oneArgument(c, strings.Join(shells, "|"))
			if err != nil {
				return err
			}
			if !slices.Contains(shells, shell) {
				return hint.Add(usagef("there is no script for %q%s", shell, didYouMean(shell, shells)), "write one of %s", strings.Join(shells, ", "))
			}
			script, err := completionScripts.ReadFile("completion/provision." + shell)
			if err != nil {
				return err
			}
			_, err = env.Stdout.Write(script)
			return err
		},
	}
}

// completeCommand is what the scripts call, with the words behind the name of
// the program up to the cursor; the last one may be empty. It prints what may
// stand in the place of the last one, each on a line with a tab and what it
// means; or ":files", or ":files .toml", where the shell knows better.
func completeCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:            "__complete",
		Hidden:          true,
		SkipFlagParsing: true,
		HideHelpCommand: true,
		Action: func(c *cli.Context) error {
			complete(env.Stdout, c.App, c.Args().Slice())
			return nil
		},
	}
}

// A candidate is what may stand at the cursor.
type candidate struct{ word, about string }

func complete(w io.Writer, app *cli.App, words []string) {
	if len(words) == 0 {
		words = []string{""}
	}
	words, last := words[:len(words)-1], words[len(words)-1]
	show := func(candidates []candidate) {
		for _, c := range candidates {
			if strings.HasPrefix(c.word, last) {
				fmt.Fprintf(w, "%s\t%s\n", visible.Lines(c.word), visible.Lines(c.about))
			}
		}
	}
	if len(words) == 0 {
		show(commandNames(app))
		return
	}
	command := app.Command(words[0])
	if command == nil {
		return
	}
	l := readLine(command, words[1:])
	name, typed, assigned := strings.Cut(last, "=") // --limit=web1
	assigned = assigned && strings.HasPrefix(last, "-")
	var prefix string
	switch {
	case assigned:
		l.pending, prefix = flagNamed(command, name), name+"="
		if l.pending == nil {
			return
		}
	case l.pending == nil && strings.HasPrefix(last, "-") && !l.onlyArguments:
		show(flagNames(command))
		return
	default:
		typed = last
	}
	if l.pending == nil {
		positions := argumentsOf(command)
		if len(l.arguments) < len(positions) {
			l.value(w, app, positions[len(l.arguments)], "", show)
		}
		return
	}
	if at := strings.LastIndexByte(typed, ','); at >= 0 && isList(l.pending) {
		prefix += typed[:at+1]
	}
	l.value(w, app, placeholder(l.pending), prefix, show)
}

// A commandLine is what stands before the cursor, behind the command.
type commandLine struct {
	command       *cli.Command
	arguments     []string
	pending       cli.Flag // that waits for its value; nil: none
	onlyArguments bool     // there was a --
}

// readLine reads words as flagsFirst does. In bash a "=" is a word of its own.
func readLine(command *cli.Command, words []string) commandLine {
	l := commandLine{command: command}
	for _, word := range words {
		switch {
		case word == "=" && l.pending != nil:
		case l.pending != nil:
			l.pending = nil
		case l.onlyArguments || !strings.HasPrefix(word, "-") || word == "-":
			l.arguments = append(l.arguments, word)
		case word == "--":
			l.onlyArguments = true
		case !strings.Contains(word, "="):
			if f := flagNamed(command, word); f != nil && takesValue(f) {
				l.pending = f
			}
		}
	}
	return l
}

// value shows what may stand for a placeholder: a list of words with "|"
// between them, or a name in capitals.
func (l commandLine) value(w io.Writer, app *cli.App, placeholder, prefix string, show func([]candidate)) {
	var candidates []candidate
	switch placeholder {
	case "INVENTORY":
		fmt.Fprintln(w, ":files .toml")
		return
	case "FILE":
		fmt.Fprintln(w, ":files")
		return
	case "COMMAND":
		candidates = commandNames(app)
	case "PATTERN":
		candidates = append(l.named(hostNames, "host"), l.named(deploymentNames, "deployment")...)
	case "OWNER":
		candidates = l.named(ownerNames, "group or project")
	case "HOST":
		candidates = l.named(hostNames, "host")
	case "DEPLOYMENT":
		candidates = l.named(deploymentNames, "deployment")
	default:
		if strings.Contains(placeholder, "|") {
			for word := range strings.SplitSeq(placeholder, "|") {
				candidates = append(candidates, candidate{word, ""})
			}
		}
	}
	for i := range candidates {
		candidates[i].word = prefix + candidates[i].word
	}
	show(candidates)
}

// named returns names of the inventory, if there is one that can be read.
func (l commandLine) named(names func(*inventory.Inventory) []string, about string) []candidate {
	file := ""
	for i, p := range argumentsOf(l.command) {
		if p == "INVENTORY" && i < len(l.arguments) {
			file = l.arguments[i]
		}
	}
	if file == "" {
		file = foundInventory()
	}
	inv, err := inventory.Load(file)
	if err != nil {
		return nil
	}
	var all []candidate
	for _, name := range names(inv) {
		all = append(all, candidate{name, about})
	}
	return all
}

func hostNames(inv *inventory.Inventory) (names []string) {
	for _, h := range inv.Hosts {
		names = append(names, h.Name)
	}
	return names
}

func deploymentNames(inv *inventory.Inventory) (names []string) {
	for _, d := range inv.Deployments {
		if !slices.Contains(names, d.Name) {
			names = append(names, d.Name)
		}
	}
	return names
}

func ownerNames(inv *inventory.Inventory) (names []string) {
	for _, d := range inv.Deployments {
		for _, name := range slices.Concat(d.Variables.Projects, []string{d.Variables.Group}) {
			if name != "" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

func commandNames(app *cli.App) []candidate {
	var all []candidate
	for _, c := range app.VisibleCommands() {
		all = append(all, candidate{c.Name, c.Usage})
	}
	return all
}

func flagNames(command *cli.Command) []candidate {
	all := []candidate{{"--help", "show help"}}
	for _, f := range command.VisibleFlags() {
		if f.Names()[0] != "help" {
			all = append(all, candidate{"--" + f.Names()[0], meaning(f)})
		}
	}
	return all
}

// flagNamed returns a flag of a command by one of its names; nil if it has no
// such flag.
func flagNamed(command *cli.Command, word string) cli.Flag {
	for _, f := range command.Flags {
		if slices.Contains(f.Names(), strings.TrimLeft(word, "-")) {
			return f
		}
	}
	return nil
}

func usageOf(f cli.Flag) string {
	if d, ok := f.(cli.DocGenerationFlag); ok {
		return d.GetUsage()
	}
	return ""
}

func takesValue(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

func isList(f cli.Flag) bool {
	_, ok := f.(*cli.StringSliceFlag)
	return ok
}

var quoted = regexp.MustCompile("`([^`]+)`")

// placeholder returns what a flag wants, as the help shows it behind its name.
func placeholder(f cli.Flag) string {
	if m := quoted.FindStringSubmatch(usageOf(f)); m != nil {
		return m[1]
	}
	return ""
}

// argumentsOf returns what a command wants besides flags, as its UsageText has
// it behind "[flags]" or the name of the command.
func argumentsOf(command *cli.Command) []string {
	_, text, ok := strings.Cut(command.UsageText, "[flags]")
	if !ok {
		text = strings.TrimPrefix(command.UsageText, "provision "+command.Name)
	}
	var all []string
	for word := range strings.FieldsSeq(text) {
		all = append(all, strings.Trim(word, "[]."))
	}
	return all
}
