package steps

import (
	"context"
	"maps"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
)

// An onHost is a step of a paper host.
type onHost struct {
	provision.Step
	host *paperHost
	of   *inventory.Deployment // what is removed
}

func (s onHost) Probe() provision.Probe {
	ask := s.Step.Probe().Ask
	return provision.Probe{Ask: func(ctx context.Context, g forge.Forge) (provision.Facts, error) {
		facts := s.host.facts(s.Step, s.of)
		if ask == nil {
			return facts, nil
		}
		asked, err := ask(ctx, g)
		maps.Copy(facts, asked)
		return facts, err
	}}
}

func (s onHost) Plan(f provision.Facts) ([]provision.Change, error) {
	changes, err := s.Step.Plan(f)
	for i, c := range changes {
		do := c.Do
		if do == nil || c.Verb == "" {
			continue
		}
		changes[i].Do = provision.Call(func(ctx context.Context, g forge.Forge) error {
			switch do := do.(type) {
			case provision.Call:
				if err := do(ctx, g); err != nil {
					return err
				}
			case provision.Script:
				text := ""
				if !do.Secret.IsZero() {
					var err error
					if text, err = do.Secret.Reveal(); err != nil {
						return err
					}
				}
				s.host.do(s.Step, s.of, c, do, text)
			}
			s.host.changed(c, s.Step)
			return nil
		})
	}
	return changes, err
}

// cloned and running stand for the clone and the containers of a deployment.
type cloned struct {
	checkout
	host *paperHost
	from string
}

func (s cloned) Probe() provision.Probe { return provision.Probe{} }

func (s cloned) Plan(provision.Facts) ([]provision.Change, error) {
	if s.host.user(s.user).clones[s.directory] == s.from {
		return nil, nil
	}
	return []provision.Change{{Verb: provision.Clone, Object: s.from, Do: provision.Call(func(context.Context, forge.Forge) error {
		s.host.users[s.user].clones[s.directory] = s.from
		return nil
	})}}, nil
}

type started struct {
	containers
	host *paperHost
}

func (s started) Probe() provision.Probe { return provision.Probe{} }

func (s started) Plan(provision.Facts) ([]provision.Change, error) {
	if s.host.user(s.user).runs[s.directory] {
		return nil, nil
	}
	return []provision.Change{{Verb: provision.Start, Object: s.deployment, Do: provision.Call(func(context.Context, forge.Forge) error {
		s.host.users[s.user].runs[s.directory] = true
		return nil
	})}}, nil
}

// onPaperHost returns the steps for a host, as far as it is on paper.
func onPaperHost(h *paperHost, all []provision.Step, of *inventory.Deployment) (steps []provision.Step) {
	for _, step := range all {
		switch s := step.(type) {
		case names, unmanaged, user, deploySettings, repoKey, deployKey, registryLogin, ciVariables, ciKey, staleVariables, undo:
			steps = append(steps, onHost{s, h, of})
		case checkout:
			steps = append(steps, cloned{s, h, s.url})
		case containers:
			steps = append(steps, started{s, h})
		}
	}
	return steps
}
