package provision

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"provision/provision/hint"
)

// Look runs the probes of all steps: on the host in one trip, and in GitLab at
// the same time. With a [Lock] it sees who has changed the host last, too.
func Look(ctx context.Context, t Target, steps []Step) (Seen, error) {
	return look(ctx, t, withLock(t, steps))
}

// withLock adds the step that looks after the lock, if there is one.
func withLock(t Target, steps []Step) []Step {
	if t.Lock == nil {
		return steps
	}
	return append(slices.Clone(steps), lastRun{})
}

func look(ctx context.Context, t Target, steps []Step) (Seen, error) {
	asked := ask(ctx, t, steps)
	seen, err := run(ctx, t, nil, nil, steps, func(Event) {})
	seen, err = merge(seen, err, <-asked, steps)
	return askNext(ctx, t, steps, seen, err)
}

// Check looks and returns what is missing. With the error of a step that
// cannot be met, the plan is that of the others.
func Check(ctx context.Context, t Target, steps []Step) (Plan, error) {
	seen, err := Look(ctx, t, steps)
	if err != nil {
		return nil, err
	}
	return CheckSeen(t, steps, seen)
}

// CheckSeen is [Check] of what a [Look] for these steps has seen.
func CheckSeen(t Target, steps []Step, seen Seen) (Plan, error) {
	plan, err := PlanFor(steps, seen)
	return plan, at(t.Name, err)
}

// run makes one trip to the host: some changes, and the probes of steps.
func run(ctx context.Context, t Target, lock *heldLock, todo []pending, steps []Step, tell func(Event)) (Seen, error) {
	var jobs []job
	for _, d := range todo {
		j := job{script: d.change.Do.(Script)}
		if t.By != "" {
			j.log = fmt.Sprintf("%s: %s (by %s)", d.step, d.change, t.By)
		}
		jobs = append(jobs, j)
	}
	probes := probesOf(steps)
	for _, p := range probes {
		jobs = append(jobs, job{script: p.script, probe: true})
	}
	if len(jobs) == 0 {
		return Seen{}, nil
	}
	prog, err := newProgram(jobs, lock.script()...)
	if err != nil {
		for _, d := range todo {
			tell(Event{Step: d.step, Change: d.change, Kind: NotRun})
		}
		return Seen{}, at(t.Name, err)
	}
	return runProgram(ctx, t, prog, todo, probes, func(ctx context.Context, out io.Writer) error {
		return lock.guard(ctx, func(ctx context.Context) error {
			return t.Host.Run(ctx, bytes.NewReader(prog.text), out)
		})
	}, tell)
}

// runProgram is one trip to the host, with a program of some changes and probes.
func runProgram(ctx context.Context, t Target, prog *program, todo []pending, probes []probe, start func(context.Context, io.Writer) error, tell func(Event)) (Seen, error) {
	event := func(n int, kind Kind, text string) {
		if n < len(todo) {
			tell(Event{Step: todo[n].step, Change: todo[n].change, Kind: kind, Text: text})
		}
	}
	results, stray, runErr := prog.talk(ctx, t, len(todo)+len(probes), start, event)
	if errors.Is(runErr, errWaited) {
		return Seen{}, runErr
	}
	return outcome(t, todo, probes, results, stray, runErr, event)
}

// talk starts a program of n jobs, and listens to it until both are through.
func (p *program) talk(ctx context.Context, t Target, n int, start func(context.Context, io.Writer) error, tell func(int, Kind, string)) ([]result, []string, error) {
	out, in := io.Pipe()
	type reply struct {
		results []result
		stray   []string
		err     error
	}
	answers := make(chan reply, 1)
	trip, stop := context.WithCancel(ctx)
	defer stop()
	p.send(t.Trace)
	go func() {
		results, stray, err := p.listen(out, n, tell)
		if err != nil {
			stop() // nobody listens to the rest
		}
		out.CloseWithError(errors.New("nobody listens any more"))
		answers <- reply{results, stray, err}
	}()
	runErr := start(trip, in)
	in.Close()
	a := <-answers
	if a.err != nil {
		runErr = a.err
	}
	return a.results, a.stray, runErr
}

// outcome turns the results of a trip into what was seen, or the first error.
func outcome(t Target, todo []pending, probes []probe, results []result, stray []string, runErr error, event func(int, Kind, string)) (Seen, error) {
	seen := Seen{facts: map[string]Facts{}}
	for n, r := range results {
		if r.ended && r.status == 0 {
			if n >= len(todo) {
				for _, step := range probes[n-len(todo)].steps {
					seen.facts[step] = r.facts.clone()
				}
			}
			continue
		}
		if r.ended && n >= len(todo) {
			for _, step := range probes[n-len(todo)].steps {
				seen.fail(step, failedLook(t.Name, step, r))
			}
			continue
		}
		e := &StepError{Host: t.Name, Status: r.status, Output: r.output}
		var failed error = e
		switch {
		case n < len(todo):
			e.Step, e.Change = todo[n].step, todo[n].change.String()
		default:
			e.Step, e.Change = probes[n-len(todo)].steps[0], "look"
		}
		switch {
		case r.ended:
			if len(r.output) == 0 {
				e.Err = fmt.Errorf("exit status %d", r.status)
			}
			if n < len(todo) && todo[n].change.Hint != "" {
				failed = hint.Add(e, "%s", todo[n].change.Hint)
			}
		case r.began:
			event(n, Failed, "")
			e.Err = ErrUnknown
			if runErr != nil {
				e.Err = fmt.Errorf("%w (%w)", ErrUnknown, runErr)
			}
		default:
			event(n, NotRun, "")
			e.Err = runErr
			if runErr == nil {
				e.Err = errors.New("the host did not run it")
				if len(stray) > 0 {
					e.Err = fmt.Errorf("the host did not run it, but said: %s", stray[len(stray)-1])
				}
			}
			e.Output = stray
			if n == 0 {
				e.Step, e.Change = "", "" // it is about the whole trip
			}
		}
		for i := n + 1; i < len(todo); i++ {
			if !results[i].began {
				event(i, NotRun, "")
			}
		}
		return Seen{}, failed
	}
	return seen, nil
}

// failedLook is the error of a probe that has ended badly.
func failedLook(host, step string, r result) error {
	e := &StepError{Host: host, Step: step, Change: "look", Status: r.status, Output: r.output}
	if len(r.output) == 0 {
		e.Err = fmt.Errorf("exit status %d", r.status)
	}
	return e
}
