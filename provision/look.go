package provision

import (
	"context"
	"errors"
	"slices"
	"sync"

	"provision/provision/forge"
)

// A probe is a script that looks for all steps that want to look in just that
// way.
type probe struct {
	steps  []string
	script Script
}

// probesOf returns the probes that have a script, those of one user together,
// each script once.
func probesOf(steps []Step) []probe {
	var order []string
	by := map[string][]probe{}
	for _, s := range steps {
		script := s.Probe().Script
		if script.Text == "" {
			continue
		}
		if by[script.User] == nil {
			order = append(order, script.User)
		}
		same := func(p probe) bool { return p.script.Text == script.Text && slices.Equal(p.script.Args, script.Args) }
		if i := slices.IndexFunc(by[script.User], same); i >= 0 {
			by[script.User][i].steps = append(by[script.User][i].steps, s.Name())
			continue
		}
		by[script.User] = append(by[script.User], probe{[]string{s.Name()}, script})
	}
	var probes []probe
	for _, user := range order {
		probes = append(probes, by[user]...)
	}
	return probes
}

type asked struct {
	seen Seen
	err  error
}

// ask asks GitLab whatever the steps want to know, side by side.
func ask(ctx context.Context, t Target, steps []Step) <-chan asked {
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := Seen{}
	errs := make([]error, len(steps))
	for i, s := range steps {
		question := s.Probe().Ask
		if question == nil {
			continue
		}
		wg.Go(func() {
			facts, err := question(ctx, t.Forge)
			if t.Partial && (errors.Is(err, forge.ErrUnseen) || errors.Is(err, forge.ErrForbidden)) {
				facts, err = Facts{unchecked: {err.Error()}}, nil
			}
			if err != nil {
				errs[i] = &StepError{Host: t.Name, Step: s.Name(), Change: "look", Err: err}
			}
			mu.Lock()
			defer mu.Unlock()
			seen[s.Name()] = facts
		})
	}
	done := make(chan asked, 1)
	go func() {
		wg.Wait()
		done <- asked{seen, errors.Join(errs...)}
	}()
	return done
}

// merge joins what the host and GitLab told about the same steps.
func merge(seen Seen, err error, a asked, host string) (Seen, error) {
	if err := errors.Join(err, a.err); err != nil {
		return nil, at(host, err)
	}
	for step, facts := range a.seen {
		if seen[step] == nil {
			seen[step] = Facts{}
		}
		for key, values := range facts {
			seen[step][key] = append(seen[step][key], values...)
		}
	}
	return seen, nil
}
