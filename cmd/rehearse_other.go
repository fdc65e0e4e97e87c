//go:build !linux

package cmd

import (
	"context"
	"errors"
)

func runRehearse(context.Context, Env, rehearseOptions) error {
	return errors.New("a rehearsal takes the namespaces of Linux\nhint: run it on a Debian machine, as root")
}
