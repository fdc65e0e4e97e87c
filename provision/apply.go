package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"provision/provision/hint"
)

// maxRounds is far beyond what any list of steps needs.
const maxRounds = 20

// Apply looks, makes what is missing, and looks again until nothing is. It
// reports what it does as it goes; report is never called twice at a time.
//
// When it ends early, every change that was made stays, and running it again
// goes on from there.
func Apply(ctx context.Context, t Target, steps []Step, report func(Event)) error {
	seen, err := Look(ctx, t, steps)
	if err != nil {
		return err
	}
	return ApplySeen(ctx, t, steps, seen, report)
}

// ApplySeen is [Apply] that begins with what a [Look] of the same target has seen,
// for steps of the same names and probes. If another run has held the lock since
// then, it looks again before it changes anything.
func ApplySeen(ctx context.Context, t Target, steps []Step, seen Seen, report func(Event)) (err error) {
	steps = withLock(t, steps)
	p := &progress{steps: steps, interrupt: t.Interrupt, over: map[ID]bool{}, tell: func(e Event) {
		e.Host = t.Name
		report(e)
	}}
	defer func() { p.end(err) }()
	p.event(Event{Kind: Looked})
	made := map[ID]bool{}
	var lock *heldLock
	for rounds := 0; rounds < maxRounds; {
		plan, err := PlanFor(steps, seen)
		if plan, err = p.planned(plan, at(t.Name, err)); err != nil || plan.Missing() == 0 {
			return p.err()
		}
		if err := repeated(plan, made); err != nil {
			if !p.broken.add(steps, at(t.Name, err)) {
				return p.err()
			}
			continue
		}
		todo := round(plan)
		if len(todo) == 0 && len(p.held) > 0 { // what is left is for after that
			p.held = append(p.held, plan...)
			return p.err()
		}
		if len(todo) == 0 {
			if !p.broken.add(steps, at(t.Name, blocked(plan))) {
				return p.err()
			}
			continue
		}
		if t.Lock != nil && lock == nil {
			if lock, err = t.Lock.take(ctx, t, seen.Of(lastRun{}.Name()).Get("run")); err != nil {
				return err
			}
			defer lock.end()
		}
		seen, err = applyRound(ctx, t, lock, todo, steps, p.event)
		rounds++
		switch {
		case err == nil:
			for _, d := range todo {
				made[d.id()] = true
			}
			continue
		case errors.Is(err, errWaited): // what was seen is old by now
			if t.Forge != nil {
				t.Forge.Forget()
			}
		default:
			if !p.broken.add(steps, err) || ctx.Err() != nil || !p.failed || errors.Is(err, ErrUnknown) {
				return p.err()
			}
		}
		if seen, err = look(ctx, t, steps); err != nil {
			return errors.Join(p.err(), err)
		}
	}
	return errors.Join(p.err(), at(t.Name, fmt.Errorf("did not converge after %d rounds", maxRounds)))
}

// A progress is what becomes of the plans for a host.
type progress struct {
	steps       []Step
	first, last Plan
	unmet       failures    // of the plan
	broken      failures    // what was made in vain
	left        []pending   // not run in its round
	interrupt   bool        // what runs may be interrupted
	held        Plan        // what is left out as it may not
	over        map[ID]bool // what is done, or has failed
	failed      bool        // the change that began last has
	tell        func(Event)
}

// planned takes a plan, and what cannot be met. It returns what is to be made of
// the plan; the error is one that stops all.
func (p *progress) planned(plan Plan, err error) (Plan, error) {
	if p.last = plan; p.first == nil {
		p.first = plan
	}
	p.unmet = failures{}
	if !p.unmet.add(p.steps, p.broken.rest(p.steps, err)) {
		return nil, err
	}
	plan, p.held = plan.without(p.steps, p.broken, p.unmet), nil
	if !p.interrupt {
		plan, p.held = plan.WithoutInterruptions()
	}
	return plan, nil
}

func (p *progress) err() error { return errors.Join(p.broken.err(), p.unmet.err()) }

// event tells what happens. What is not run in its round may be in the next one.
func (p *progress) event(e Event) {
	switch e.Kind {
	case NotRun:
		p.left = append(p.left, pending{e.Step, e.Change})
		return
	case Began:
		p.failed = false
	case Done, Failed:
		p.failed = e.Kind == Failed
		p.over[e.Change.ID(e.Step)] = true
	}
	p.tell(e)
}

// end tells what was not run, if something has failed, what was left out, and the
// notes.
func (p *progress) end(err error) {
	if err != nil {
		for _, s := range p.stopped() {
			for _, c := range s.Changes {
				if c.Do != nil {
					p.left = append(p.left, pending{s.Step, c})
				}
			}
		}
		for _, d := range p.left {
			if !p.over[d.id()] {
				p.over[d.id()] = true
				p.tell(Event{Step: d.step, Change: d.change, Kind: NotRun})
			}
		}
	}
	for _, s := range p.held {
		for _, c := range s.Changes {
			p.tell(Event{Step: s.Step, Change: c, Kind: LeftOut})
		}
	}
	noteAll(p.first, p.last, p.tell)
}

// stopped returns what is left out of the plan, if there is something to go on
// with.
func (p *progress) stopped() Plan {
	if p.broken.all || p.unmet.all {
		return nil
	}
	rest := p.last.without(p.steps, p.broken, p.unmet)
	return slices.DeleteFunc(slices.Clone(p.last), func(s StepPlan) bool {
		return slices.ContainsFunc(rest, func(r StepPlan) bool { return r.Step == s.Step })
	})
}

// noteAll tells the notes that hold in the end, and those that steps had beside
// their changes: these may be about what the changes have ended.
func noteAll(first, last Plan, tell func(Event)) {
	told := map[string]bool{}
	for i, s := range slices.Concat(first, last) {
		if i < len(first) && len(s.Changes) == 0 {
			continue
		}
		for _, n := range s.Notes {
			if key := s.Step + "\x00" + n.Text; !told[key] {
				told[key] = true
				tell(Event{Step: s.Step, Kind: Noted, Text: n.Text, Hint: n.Hint})
			}
		}
	}
}

// applyRound makes one round, and looks again: on the host within its last trip, or
// after a test that comes later, and in GitLab after the last call.
func applyRound(ctx context.Context, t Target, lock *heldLock, todo []pending, steps []Step, tell func(Event)) (seen Seen, err error) {
	next := 0
	defer func() {
		if err != nil && !errors.Is(err, errWaited) {
			for _, d := range todo[next:] {
				tell(Event{Step: d.step, Change: d.change, Kind: NotRun})
			}
		}
	}()
	lastScript, tested := -1, false // tested: a login, of which the host knows, comes after it
	for i, d := range todo {
		if isScript(d.change.Do) {
			lastScript, tested = i, false
		} else if d.change.Verb == Test {
			tested = true
		}
	}
	for next < len(todo) {
		if call, ok := todo[next].change.Do.(Call); ok {
			if err := lock.wait(ctx); err != nil {
				return Seen{}, at(t.Name, err)
			}
			d := todo[next]
			next++
			tell(Event{Step: d.step, Change: d.change, Kind: Began})
			if err := call(ctx, t.Forge); err != nil {
				tell(Event{Step: d.step, Change: d.change, Kind: Failed})
				failed := error(&StepError{Host: t.Name, Step: d.step, Change: d.change.String(), Err: reasonOf(err)})
				if d.change.Hint != "" {
					failed = hint.Add(failed, "%s", d.change.Hint)
				}
				return Seen{}, failed
			}
			tell(Event{Step: d.step, Change: d.change, Kind: Done})
			continue
		}
		end := next
		for end < len(todo) && isScript(todo[end].change.Do) {
			end++
		}
		batch := todo[next:end]
		next = end
		var probes []Step
		if end > lastScript && !tested {
			probes = steps
		}
		if seen, err = run(ctx, t, lock, batch, probes, tell); err != nil {
			return Seen{}, err
		}
	}
	if lastScript < 0 || tested {
		return look(ctx, t, steps)
	}
	seen, err = merge(seen, nil, <-ask(ctx, t, steps), steps)
	return askNext(ctx, t, steps, seen, err)
}
