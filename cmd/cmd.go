// Package cmd is the command line: it reads flags, wires the parts of the
// program together, and prints what they tell.
package cmd

import (
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"provision/cmd/fleet"
	"provision/cmd/output"
	"provision/cmd/usage"
	"provision/inventory"
	"provision/provision/hint"
	"provision/provision/visible"
)

// An Env is what a command sees of the world around it.
type Env struct {
	Args   []string // the name of the program first
	Stdin  *os.File
	Stdout io.Writer
	Stderr io.Writer

	// Timeout is for one attempt at one request of GitLab; zero: as usual.
	Timeout time.Duration

	trace     *output.Trace
	dialer    fleet.Dialer // nil: SSH
	rehearsal Rehearsal    // nil: provision-rehearse has it
}

// The exit codes.
const (
	exitOK      = 0
	exitFailed  = 1 // something went wrong
	exitUsage   = 2 // wrong usage or inventory; nothing was done
	exitMissing = 3 // plan --exit-code: something is missing; apply: something was left out; update: nobody was there to ask
)

// errMissing is no failure, but the exit code tells.
var errMissing = errors.New("something is missing")

// errReported is a failure that was printed already, where it happened.
var errReported = errors.New("not all hosts are done")

// A helpFlag is the one flag that the library shares among all commands of all
// apps. As it keeps what it parsed in its flags, each gets a copy.
type helpFlag struct{ *cli.BoolFlag }

func (f helpFlag) Apply(set *flag.FlagSet) error {
	own := *f.BoolFlag
	return own.Apply(set)
}

func init() {
	cli.HelpFlag = helpFlag{&cli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "show help", DisableDefaultText: true}}
	cli.FlagStringer = flagLine
}

// Main runs the program and returns its exit code. An interrupt ends what is
// under way, on the hosts too; a second one ends the program at once.
func Main() int { return runProcess(Env{Args: os.Args}) }

// runProcess runs env.Args with the streams and signals of this process.
func runProcess(env Env) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	env.Stdin, env.Stdout, env.Stderr = os.Stdin, os.Stdout, os.Stderr
	return Run(ctx, env)
}

// Run runs one command and returns its exit code.
func Run(ctx context.Context, env Env) int {
	env.trace = &output.Trace{}
	defer env.trace.Close()
	app := newApp(env)
	args, err := flagsFirst(app, env.Args)
	if end := slices.Index(args, "--"); end > 2 {
		app.Metadata[typedFlags] = args[2:end]
	}
	if err == nil {
		err = app.RunContext(ctx, args)
	}
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errMissing):
		return exitMissing
	case errors.Is(err, errReported):
		return exitFailed
	}
	var code ExitCode
	if errors.As(err, &code) {
		return int(code)
	}
	last := visible.Lines(err.Error()) + output.HintLines(hint.Of(err))
	if errors.As(err, new(inventory.Problems)) {
		last += "\n" // as they are: editors follow FILE:LINE:COLUMN
	} else {
		last = output.ErrorLines(env.Stderr, last)
	}
	env.trace.Printed(last)
	io.WriteString(env.Stderr, last)
	if errors.As(err, new(usage.Error)) {
		return exitUsage
	}
	return exitFailed
}

func newApp(env Env) *cli.App {
	return &cli.App{
		Name:      "provision",
		Usage:     "turn bare Linux hosts into least-privilege deployment targets for GitLab",
		UsageText: "provision COMMAND [flags] [INVENTORY]",
		Description: "Begin with provision init, which writes an inventory. provision COMMAND --help\n" +
			"has the flags, an example and the exit codes of a command.\n\n" +
			"INVENTORY is the path of the inventory. Without it a command takes the one of\n" +
			"$PROVISION_INVENTORY, else inventory.toml here or in the nearest folder above,\n" +
			"if nobody but you and root could have put it there.",
		Commands: slices.Concat(
			group("First steps",
				initCommand(env),
				checkCommand(env),
				rehearseCommand(env),
			),
			group("Hosts and GitLab",
				planCommand(env),
				applyCommand(env),
				verifyCommand(env),
				updateCommand(env),
				rotateCommand(env),
				removeCommand(env),
				cleanCommand(env),
				statusCommand(env),
				logCommand(env),
			),
			group("One deployment",
				deployCommand(env),
				moveCommand(env),
				logsCommand(env),
			),
			group("What it prints",
				renderCommand(env),
				mapCommand(env),
				schemaCommand(env),
				completionCommand(env),
				manCommand(env),
				versionCommand(env),
				helpCommand(),
			),
			[]*cli.Command{completeCommand(env)},
		),
		CustomAppHelpTemplate: appHelp(),
		Reader:                env.Stdin,
		Writer:                env.Stdout,
		ErrWriter:             env.Stderr,
		Flags:                 []cli.Flag{cli.HelpFlag, &cli.BoolFlag{Name: "version", Usage: "print the version"}},
		Action: func(c *cli.Context) error {
			if c.Bool("version") {
				return printVersion(env)
			}
			if c.Args().Present() {
				return noCommand(c.App, c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
		OnUsageError:   onAppUsageError,
		ExitErrHandler: func(*cli.Context, error) {}, // the library's own would end the process
		Metadata:       map[string]any{},
		HideVersion:    true,
	}
}

func usagef(format string, args ...any) error { return usage.Errorf(format, args...) }

// flagsFirst moves flags before arguments, because the library stops reading
// flags at the first argument: "apply inventory.toml --limit web1" would be
// an apply to all hosts.
func flagsFirst(app *cli.App, args []string) ([]string, error) {
	if len(args) < 2 {
		return args, nil
	}
	var command *cli.Command
	for _, c := range app.Commands {
		if c.HasName(args[1]) {
			command = c
		}
	}
	if command == nil || command.SkipFlagParsing {
		return args, nil
	}
	takesValue := map[string]bool{}
	for _, f := range command.Flags {
		_, isBool := f.(*cli.BoolFlag)
		for _, name := range f.Names() {
			takesValue[name] = !isBool
		}
	}
	flags, rest := append([]string{}, args[:2]...), []string{}
	for i := 2; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			rest = append(rest, args[i+1:]...)
			break
		}
		if !strings.HasPrefix(arg, "-") || arg == "-" {
			rest = append(rest, arg)
			continue
		}
		if arg == "--help" || arg == "-h" { // of an argument the library has none
			return append(flags[:2], arg), nil
		}
		flags = append(flags, arg)
		name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if takesValue[name] && !hasValue {
			if i++; i == len(args) {
				return nil, usagef("the flag %s wants a value", arg)
			}
			flags = append(flags, args[i])
		}
	}
	return append(append(flags, "--"), rest...), nil
}

// oneArgument returns the one argument of a command.
func oneArgument(c *cli.Context, what string) (string, error) {
	switch c.NArg() {
	case 0:
		return "", hint.Add(usagef("%s is missing", what), "provision %s %s", c.Command.Name, what)
	case 1:
		return c.Args().First(), nil
	}
	return "", hint.Add(usagef("unexpected argument %q", c.Args().Get(1)), "provision %s --help shows the flags", c.Command.Name)
}
