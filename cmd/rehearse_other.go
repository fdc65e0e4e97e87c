//go:build !linux

package cmd

import (
	"context"
	"errors"

	"provision/provision/hint"
)

func runRehearse(context.Context, Env, rehearseOptions) error {
	return hint.Add(errors.New("a rehearsal takes the namespaces of Linux"), "run it on a Debian machine, as root")
}
