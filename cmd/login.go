package cmd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"

	"provision/cmd/fleet"
	"provision/inventory"
	"provision/provision/hint"
	"provision/provision/secret"
	"provision/steps"
)

// logsIn has the steps of a fleet try keys.
func logsIn(f *fleet.Fleet) {
	f.Given.Login = func(ctx context.Context, d *inventory.Deployment, key secret.Value) error {
		return tryKey(ctx, f, d, key)
	}
}

// tryKey logs in as CI does, and asks for something that changes nothing.
func tryKey(ctx context.Context, f *fleet.Fleet, d *inventory.Deployment, key secret.Value) error {
	if err := tryTarget(ctx, d); err != nil {
		return err
	}
	conn, err := f.LogIn(ctx, d, key, fleet.WayOfAdmin)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Ask(ctx, "status", io.Discard)
}

// tryTarget has ssh(1), which jobs of CI use, read where a deployment is, if there is
// one here: our own client takes what that refuses. It connects to nothing.
func tryTarget(ctx context.Context, d *inventory.Deployment) error {
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		return nil
	}
	target, host, port := steps.DeployTarget(d), d.Host.CIAddress, d.Host.CIPort
	if host == "" {
		host, port = d.Host.Address, d.Host.Port
	}
	if port == 0 {
		port = 22
	}
	said, err := exec.CommandContext(ctx, ssh, "-F", "/dev/null", "-G", "--", target).Output()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return nil // it could not be asked
	}
	reads := map[string]string{}
	for lines := bufio.NewScanner(bytes.NewReader(said)); lines.Scan(); {
		word, value, _ := strings.Cut(lines.Text(), " ")
		reads[word] = value
	}
	if err == nil && reads["user"] == d.User && strings.EqualFold(reads["hostname"], host) && reads["port"] == strconv.Itoa(port) {
		return nil
	}
	return hint.Add(fmt.Errorf("ssh, which jobs of CI use, does not take %s for %s on %s port %d", target, d.User, host, port), "write a host name as ci_address of the host")
}
