package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"

	"github.com/urfave/cli/v2"

	"provision/cmd/usage"
	"provision/inventory"
	"provision/provision/hint"
)

// A Rehearsal carries out the command rehearse, with env as it was started in.
type Rehearsal func(ctx context.Context, env Env, o RehearseOptions) error

// RehearseOptions are what the command line says of a rehearsal.
type RehearseOptions struct {
	Inventory *inventory.Inventory // the example, where none is named
	Keep      bool                 // leave everything up at the end, until an interrupt
}

// ExitCode is the exit code of a command that has said why.
type ExitCode int

func (e ExitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Rehearse is Main of the program provision-rehearse, whose arguments are
// those of the command rehearse: r carries it out.
func Rehearse(r Rehearsal) int {
	return runProcess(Env{Args: append([]string{"provision", "rehearse"}, os.Args[1:]...), rehearsal: r})
}

func rehearseCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "rehearse",
		Usage:     "try an inventory on throwaway hosts of this machine",
		UsageText: "provision rehearse [flags] [INVENTORY]",
		Description: "Boots the hosts of the inventory (or of the example that comes with the program)\n" +
			"in namespaces of this machine, with a registry and a stand-in for GitLab, and\n" +
			"runs plan, apply, a deploy as CI does it, and apply again. It needs root on a\n" +
			"Debian machine, and the program provision-rehearse, which comes with this one.\n" +
			"Nothing outside is touched, and nothing is left.",
		Flags:           []cli.Flag{&cli.BoolFlag{Name: "keep", Usage: "leave everything up at the end, until an interrupt, and say how to reach it"}},
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			file := ""
			if c.NArg() > 0 {
				var err error
				if file, err = oneArgument(c, "INVENTORY"); err != nil {
					return err
				}
			}
			if env.rehearsal == nil {
				return becomeRehearsal(env.Args[slices.Index(env.Args, c.Command.Name)+1:])
			}
			return runRehearsal(c.Context, env, file, c.Bool("keep"))
		},
	}
}

// becomeRehearsal puts provision-rehearse in the place of this process, whose
// streams and signals it gets. It returns only where that fails.
func becomeRehearsal(args []string) error {
	if runtime.GOOS != "linux" {
		return hint.Add(errors.New("a rehearsal needs Linux"), "run it on a Debian machine, as root")
	}
	program, err := FindProgram("provision-rehearse")
	if err != nil {
		return err
	}
	err = syscall.Exec(program, append([]string{program}, args...), os.Environ())
	return fmt.Errorf("%s: %w", program, err)
}

// FindProgram returns where another program of the project is: beside the
// running one, else on $PATH.
func FindProgram(name string) (string, error) {
	self, err := os.Executable() // Linux resolves its links
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(self)
	for _, candidate := range []string{filepath.Join(dir, name), name} {
		if found, err := exec.LookPath(candidate); err == nil {
			return found, nil
		}
	}
	return "", hint.Add(fmt.Errorf("%s is not installed: it is neither in %s nor on $PATH", name, dir), "it comes in the archive of %s: install -m 755 %s %s", filepath.Base(self), name, hint.Quote(dir))
}

// runRehearsal reads the inventory, or the example in the place of none, and
// rehearses it.
func runRehearsal(ctx context.Context, env Env, file string, keep bool) error {
	if file == "" {
		dir, err := os.MkdirTemp("", "provision-example-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		if err := os.CopyFS(dir, inventory.Example); err != nil {
			return err
		}
		file = filepath.Join(dir, "example.toml")
	}
	inv, err := inventory.Load(file)
	if err != nil {
		return usage.Error{Err: err}
	}
	return env.rehearsal(ctx, env, RehearseOptions{Inventory: inv, Keep: keep})
}
