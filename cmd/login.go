package cmd

import (
	"context"
	"io"

	"provision/cmd/fleet"
	"provision/inventory"
	"provision/provision/secret"
)

// logsIn has the steps of a fleet try keys.
func logsIn(f *fleet.Fleet) {
	f.Given.Login = func(ctx context.Context, d *inventory.Deployment, key secret.Value) error {
		return tryKey(ctx, f, d, key)
	}
}

// tryKey logs in as CI does, and asks for something that changes nothing.
func tryKey(ctx context.Context, f *fleet.Fleet, d *inventory.Deployment, key secret.Value) error {
	conn, err := f.LogIn(ctx, d, key, fleet.WayOfAdmin)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Ask(ctx, "status", io.Discard)
}
