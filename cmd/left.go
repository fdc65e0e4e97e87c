package cmd

import (
	"context"
	"strings"

	"provision/cmd/fleet"
	"provision/cmd/output"
	"provision/inventory"
	"provision/provision"
	"provision/steps"
)

// gone is a removal of what hosts have in GitLab that the inventory does not name: of
// one of their deployments, or of all with "".
func gone(hosts []string, deployment string, held *steps.Held) removal {
	what := removal{what: "what " + strings.Join(hosts, ", ") + " has in GitLab", gone: true, held: held}
	if deployment != "" {
		what.what = "what " + deployment + " on " + strings.Join(hosts, ", ") + " has in GitLab"
	}
	for _, host := range hosts {
		what.parts = append(what.parts, fleet.Part{Host: &inventory.Host{Name: host}})
	}
	what.look = func(ctx context.Context, f *fleet.Fleet, s *fleet.Site) (look, error) {
		return lookFor(ctx, s, steps.ForgetHost(f.Inventory, s.Host.Name, deployment, held))
	}
	return what
}

// everywhere opens a fleet of all hosts of the inventory, whatever --limit selects, in
// which only GitLab is asked for now.
func (r *run) everywhere(ctx context.Context, scopes ...string) (*fleet.Fleet, error) {
	return r.open(ctx, fleet.Options{Parts: fleet.AllOf(r.inv), Scopes: scopes})
}

// tellLeft prints what GitLab has of hosts that the inventory does not name.
func tellLeft(ctx context.Context, f *fleet.Fleet, report *output.Report) error {
	left, held, err := f.LeftBehind(ctx, true)
	for _, l := range left {
		if l = l.Without(held); !l.Empty() {
			report.PlanPart(l.Host, provision.Plan{l.Found()})
		}
	}
	return err
}
