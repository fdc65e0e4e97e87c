package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A command is something whose time is taken.
type command struct {
	name string
	args []string
	exit int // the status that it is to end with
	env  []string
	in   []byte // what it reads

	every int // it takes part in every so many rounds; 0: in all

	before func() error // what is done ahead of each run, untimed

	times  []time.Duration
	cpu    time.Duration // of the last run
	memory int64         // bytes, the most that a run had
	out    string        // of the last run
}

func (c *command) run(ctx context.Context) error {
	if c.before != nil {
		if err := c.before(); err != nil {
			return fmt.Errorf("before %s: %w", c.name, err)
		}
	}
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Env = append(os.Environ(), c.env...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(c.in), &out, &errs
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		return err
	}
	if code := cmd.ProcessState.ExitCode(); code != c.exit {
		return fmt.Errorf("%s: exit status %d\n%s%s", c.name, code, tail(out.String()), tail(errs.String()))
	}
	c.times, c.out = append(c.times, took), out.String()
	c.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		c.memory = max(c.memory, usage.Maxrss<<10)
	}
	return nil
}

func tail(text string) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "")
}

// interleave runs commands in turn, so that whatever else the machine does
// meets them all.
func interleave(ctx context.Context, rounds int, commands ...*command) error {
	for i := range rounds {
		for _, c := range commands {
			if c.every > 1 && i%c.every != 0 {
				continue
			}
			if err := c.run(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *command) median() time.Duration {
	sorted := slices.Sorted(slices.Values(c.times))
	if len(sorted) == 0 {
		return 0
	}
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// against returns the ratio of the medians.
func (c *command) against(floor *command) float64 {
	return float64(c.median()) / float64(floor.median())
}
