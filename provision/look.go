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
	facts map[string]Facts
	errs  map[string]error
}

// ask asks GitLab whatever the steps want to know, side by side.
func ask(ctx context.Context, t Target, steps []Step) <-chan asked {
	return askEach(ctx, t, steps, func(s Step) Question { return s.Probe().Ask })
}

// askNext asks GitLab what the steps want to know after they were looked at.
func askNext(ctx context.Context, t Target, steps []Step, seen Seen, err error) (Seen, error) {
	if err != nil {
		return seen, err
	}
	some := false
	a := askEach(ctx, t, steps, func(s Step) Question {
		after := s.Probe().Next
		if after == nil || seen.errs[s.Name()] != nil {
			return nil
		}
		question := after(seen.Of(s.Name()))
		some = some || question != nil
		return question
	})
	if !some {
		return seen, nil
	}
	return merge(seen, nil, <-a, steps)
}

func askEach(ctx context.Context, t Target, steps []Step, of func(Step) Question) <-chan asked {
	var wg sync.WaitGroup
	var mu sync.Mutex
	a := asked{map[string]Facts{}, map[string]error{}}
	for _, s := range steps {
		question := of(s)
		if question == nil {
			continue
		}
		wg.Go(func() {
			facts, err := question(ctx, t.Forge)
			if t.Partial && (errors.Is(err, forge.ErrUnseen) || errors.Is(err, forge.ErrForbidden)) {
				facts, err = Facts{unchecked: {err.Error()}}, nil
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				a.errs[s.Name()] = &StepError{Host: t.Name, Step: s.Name(), Change: "look", Err: err}
			}
			a.facts[s.Name()] = facts
		})
	}
	done := make(chan asked, 1)
	go func() {
		wg.Wait()
		done <- a
	}()
	return done
}

// merge joins what the host and GitLab told about the same steps. A step that
// could not be looked at is an error of all where it is about the whole host.
func merge(seen Seen, err error, a asked, steps []Step) (Seen, error) {
	if err != nil {
		errs := []error{err}
		for _, s := range steps {
			errs = append(errs, a.errs[s.Name()])
		}
		return Seen{}, errors.Join(errs...)
	}
	if seen.facts == nil {
		seen.facts = map[string]Facts{}
	}
	for step, facts := range a.facts {
		if seen.facts[step] == nil {
			seen.facts[step] = Facts{}
		}
		for key, values := range facts {
			seen.facts[step][key] = append(seen.facts[step][key], values...)
		}
	}
	for step, err := range a.errs {
		seen.fail(step, err)
	}
	var whole []error
	for _, s := range steps {
		if (ScopeOf(s) == Scope{}) {
			whole = append(whole, seen.errs[s.Name()])
		}
	}
	if err := errors.Join(whole...); err != nil {
		return Seen{}, err
	}
	return seen, nil
}

// fail says that a step could not be looked at.
func (s *Seen) fail(step string, err error) {
	if s.errs == nil {
		s.errs = map[string]error{}
	}
	s.errs[step] = err
}
