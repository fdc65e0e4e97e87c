package verify

import (
	"context"
	"errors"
	"strings"

	"provision/cmd/fleet"
	"provision/cmd/output"
	"provision/provision/hint"
	"provision/provision/remote"
	"provision/provision/visible"
)

// withoutGate is about a key that does not open the gate, and tells whether it
// is to be tried what else it can do. It asks for one harmless command only: a
// forced command other than the gate would do its work for each.
func (v *verdict) withoutGate(ctx context.Context, conn fleet.Conn, other *notGateError) (prove bool, err error) {
	var said strings.Builder
	err = conn.Ask(ctx, "id", &said)
	var exit *remote.ExitError
	if err != nil && !errors.As(err, &exit) || exit != nil && strings.HasPrefix(exit.Stderr, refusal) {
		return false, other.error // it is the gate, or cannot be looked at
	}
	found := finding{"the CI key opens something else than the gate: " + other.Error(), hint.Of(other)}
	if text := strings.TrimSpace(said.String()); text != "" && !strings.Contains(text, "uid=") {
		line, _, _ := strings.Cut(text, "\n")
		found.text += ": " + output.Cut(visible.String(line), 200)
	}
	if noShell := said.Len() == 0 || strings.Contains(said.String(), "not available"); noShell && exit != nil && exit.Status == 1 && exit.Stderr == "" {
		found.hints = append(found.hints, "that is what nologin(8) and false(1) do: the login shell of the deploy user must be one that runs commands, such as /bin/sh")
	}
	v.wrong = append(v.wrong, found)
	v.unchecked = append(v.unchecked, otherSteps)
	if strings.Contains(said.String(), "uid=") {
		return true, nil
	}
	v.unchecked = append(v.unchecked, "what else the key can do")
	return false, nil
}

// prove tries what the key must not do. Once it has done something of that,
// attempts that decide nothing are no reason to keep silent.
func (v *verdict) prove(ctx context.Context, conn fleet.Conn) error {
	attempts, err := conn.Prove(ctx)
	for _, a := range attempts {
		if a.Refused {
			v.refused = append(v.refused, a.Name)
		} else {
			v.breaches = append(v.breaches, a.Name+": "+a.How)
		}
	}
	if err == nil || v.ok() {
		return err
	}
	for _, e := range output.Split(err) {
		v.unchecked = append(v.unchecked, e.Error())
	}
	return nil
}
