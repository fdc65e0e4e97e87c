package cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"provision/cmd/fleet"
	"provision/cmd/output"
	"provision/provision"
	"provision/provision/hint"
	"provision/steps"
)

const (
	// beat is how often the hosts hear of this program while nothing runs. Of the
	// leases in templates/move.sh the shorter one is several times as long.
	beat = 4 * time.Second

	// goingBack bounds how long the hosts are told to go back; after that the old one
	// does so by itself.
	goingBack = time.Minute
)

// interruption is what stops, and about how long.
func (m *moving) interruption() provision.Interruption {
	about := 20
	for _, v := range m.volumes {
		kib := 0
		fmt.Sscan(v.kib, &kib)
		about += kib >> 20 // a look at each GiB
	}
	return provision.Interruption{What: m.new.Name, Seconds: about}
}

// lookAhead looks at what is to be made on a host, in all.
func (m *moving) lookAhead(ctx context.Context, s *fleet.Site) (look, error) {
	if s == m.newSite {
		return lookFor(ctx, s, m.all())
	}
	out := m.out()
	if m.forward {
		return lookFor(ctx, s, out)
	}
	var changes []provision.Change
	copied := func(object, remark string) {
		changes = append(changes, provision.Change{Verb: provision.Copy, Object: object, Remark: remark, Do: provision.Script{}})
	}
	for _, v := range m.volumes {
		copied("the volume "+v.name+" to "+m.new.Host.Name, "("+v.kib+" KiB, while "+m.new.Name+" runs)")
	}
	changes = append(changes, provision.Change{Verb: provision.Stop, Object: "the containers of " + m.new.Name, Interrupts: m.interruption(), Do: provision.Script{}})
	for _, v := range m.volumes {
		copied("what has changed of "+v.name, "")
	}
	changes = append(changes, provision.Change{Verb: provision.Start, Object: "the containers of " + m.new.Name + " on " + m.new.Host.Name, Remark: "(and wait until they are well; else they start here again)", Do: provision.Script{}})
	for _, text := range m.left {
		changes = append(changes, provision.Note("%s", text))
	}
	return lookFor(ctx, s, append([]provision.Step{moveAhead{"move " + m.new.Name, changes}}, out...))
}

// moveAhead is a step that is shown and not made.
type moveAhead struct {
	name    string
	changes []provision.Change
}

func (s moveAhead) Name() string                                     { return s.name }
func (moveAhead) Probe() provision.Probe                             { return provision.Probe{} }
func (s moveAhead) Plan(provision.Facts) ([]provision.Change, error) { return s.changes, nil }

// run moves the deployment. Where that fails before the new host is the one, the old
// host goes on.
func (m *moving) run(ctx context.Context) error {
	if !m.forward {
		if err := m.bring(ctx); err != nil {
			return err
		}
	}
	return m.finish(ctx)
}

// tell prints what happens on a host.
func (m *moving) tell(s *fleet.Site, format string, args ...any) {
	m.report.Say(m.r.lineOf(s, output.Line{Event: "progress", Text: fmt.Sprintf(format, args...)}))
}

// do runs a script on a host.
func (m *moving) do(ctx context.Context, s *fleet.Site, what string, args ...string) (provision.Facts, error) {
	return m.follow(ctx, s, what, steps.Move(m.new, what, args...))
}

func (m *moving) follow(ctx context.Context, s *fleet.Site, what string, script provision.Script) (provision.Facts, error) {
	t, err := s.Target(ctx)
	if err != nil {
		return nil, err
	}
	m.report.Live.Doing(s.Host.Name, "move "+m.new.Name+": "+what)
	var last []string
	facts, err := provision.Follow(ctx, t, script, func(line string) {
		last = []string{line}
		if m.report.Verbose {
			m.tell(s, "%s", line)
		}
	})
	var failed *provision.StepError
	if errors.As(err, &failed) && failed.Status != 0 && len(failed.Output) == 0 && len(last) > 0 {
		failed.Output, failed.Err = last, nil // a command of the script has failed, and has said why
	}
	return facts, err
}

// by is who moves, for the logs of the hosts.
func (m *moving) by(ctx context.Context, s *fleet.Site) string {
	t, _ := s.Target(ctx)
	return t.By
}

// make makes what is missing of some steps on a host.
func (m *moving) make(ctx context.Context, s *fleet.Site, list []provision.Step) error {
	l, err := lookFor(ctx, s, list)
	if err != nil {
		return err
	}
	var left error
	err = provision.ApplySeen(ctx, l.target, l.steps, l.seen, func(e provision.Event) {
		switch {
		case e.Kind == provision.LeftOut && left == nil:
			left = hint.Add(fmt.Errorf("%s: %s: left out, as it interrupts what else runs there: %s", e.Host, e.Step, e.Change),
				"provision apply --interrupt --limit %s %s", hint.Quote(e.Host), hint.Quote(m.r.inventory))
		case e.Kind == provision.Noted && s == m.oldSite && e.Step == "containers "+m.new.Name: // the volumes, of which the last line tells
		default:
			m.report.Event(e)
		}
	})
	return errors.Join(err, left)
}

// bring has the new host be the one, or goes back.
func (m *moving) bring(ctx context.Context) error {
	if m.held {
		if _, err := m.do(ctx, m.oldSite, "back"); err != nil {
			return err
		}
		m.tell(m.oldSite, "%s runs here again: it was stopped by a move that has not ended", m.new.Name)
	}
	if err := m.prepare(ctx); err != nil {
		last, stop := context.WithTimeout(context.WithoutCancel(ctx), goingBack)
		defer stop()
		_, _ = m.do(last, m.oldSite, "back") // it has noted what is in its volumes, and the next try does so anew
		return err
	}
	beats, stop := m.beats(ctx)
	err := m.change(beats)
	if cause := context.Cause(beats); err != nil && ctx.Err() == nil && cause != nil {
		err = cause
	}
	stop()
	if err == nil {
		return nil
	}
	var unknown decision
	if errors.As(err, &unknown) {
		return hint.Add(err, "run it again: it asks both hosts which of them is the one")
	}
	return m.goBack(ctx, err)
}

// prepare sets the new host up, and copies what there is.
func (m *moving) prepare(ctx context.Context) error {
	args := []string{m.from.Name}
	for _, v := range m.volumes {
		args = append(args, v.name)
	}
	if _, err := m.do(ctx, m.newSite, "arrive", args...); err != nil {
		return err
	}
	if err := m.make(ctx, m.newSite, m.ahead()); err != nil {
		return err
	}
	if _, err := m.do(ctx, m.newSite, "pull", m.new.Version, m.version); err != nil {
		return err
	}
	for _, v := range m.volumes {
		if _, err := m.follow(ctx, m.newSite, "create "+v.name, steps.MoveCopy(m.new, "create", v.name, v.labels...)); err != nil {
			return err
		}
		if _, err := m.follow(ctx, m.oldSite, "look at "+v.name, steps.MoveCopy(m.old, "first", v.name)); err != nil {
			return err
		}
		n, err := m.pipe(ctx, v, "send", "receive")
		if err != nil {
			return err
		}
		m.tell(m.oldSite, "copied the volume %s (%s) while %s runs", v.name, bytesOf(n), m.new.Name)
	}
	return nil
}

// pipe feeds what a script of the old host prints to one of the new host.
func (m *moving) pipe(ctx context.Context, v volume, send, receive string) (int64, error) {
	from, err := m.oldSite.Target(ctx)
	if err != nil {
		return 0, err
	}
	to, err := m.newSite.Target(ctx)
	if err != nil {
		return 0, err
	}
	m.report.Live.Doing(m.oldSite.Host.Name, "move "+m.new.Name+": "+send+" "+v.name)
	n, _, err := provision.Pipe(ctx, from, steps.MoveCopy(m.old, send, v.name), to, steps.MoveCopy(m.new, receive, v.name))
	return n, err
}

// A decision is the error of the one moment of which the other host may know more.
type decision struct{ error }

func (d decision) Unwrap() error { return d.error }

// change is what nothing runs for.
func (m *moving) change(ctx context.Context) error {
	began := time.Now()
	if _, err := m.do(ctx, m.oldSite, "hold", m.new.Host.Name, steps.MoveProgram(), m.by(ctx, m.oldSite)); err != nil {
		return err
	}
	m.tell(m.oldSite, "%s is stopped", m.new.Name)
	for _, v := range m.volumes {
		if _, err := m.pipe(ctx, v, "lists", "keep_lists"); err != nil {
			return err
		}
		n, err := m.pipe(ctx, v, "changes", "renewed")
		if err != nil {
			return err
		}
		var sums []string
		for _, s := range []*fleet.Site{m.oldSite, m.newSite} {
			facts, err := m.follow(ctx, s, "compare "+v.name, steps.MoveCopy(m.new, "summary", v.name))
			if err != nil {
				return err
			}
			sums = append(sums, facts.Get("summary"))
		}
		if sums[0] == "" || sums[0] != sums[1] {
			return fmt.Errorf("the copy of the volume %s is not like the volume", v.name)
		}
		m.tell(m.oldSite, "copied what has changed of %s (%s); the copy is like it", v.name, bytesOf(n))
	}
	if _, err := m.do(ctx, m.newSite, "trial", steps.MoveProgram()); err != nil {
		return err
	}
	if err := m.start(ctx); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// From here on nothing is interrupted: the less time there is between the two, the better.
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), goingBack)
	defer stop()
	if _, err := m.do(ctx, m.oldSite, "gone", m.new.Host.Name, m.by(ctx, m.oldSite)); err != nil {
		if errors.Is(err, provision.ErrUnknown) {
			return decision{err}
		}
		return err
	}
	if _, err := m.do(ctx, m.newSite, "here", m.by(ctx, m.newSite)); err != nil {
		return decision{err}
	}
	m.tell(m.newSite, "%s runs here, after %s", m.new.Name, output.Seconds(time.Since(began)))
	return nil
}

// start starts the deployment on the new host, and waits until it is well.
func (m *moving) start(ctx context.Context) error {
	_, err := m.follow(ctx, m.newSite, "start", steps.MoveStart(m.new, m.version))
	return err
}

// beats tells both hosts again and again that this program is there. When one of them
// does not hear it, the context ends.
func (m *moving) beats(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	hosts := []provision.Target{m.newSite.Beside(), m.oldSite.Beside()} // in this order: the lease of the old host ends last
	go func() {
		defer close(done)
		clock := time.NewTicker(beat)
		defer clock.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-clock.C:
			}
			for _, t := range hosts {
				if err := m.renew(ctx, t); err != nil {
					cancel(fmt.Errorf("%s: not heard of in time: %w", t.Name, err))
					return
				}
			}
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-done
	}
}

func (m *moving) renew(ctx context.Context, t provision.Target) error {
	limited, stop := context.WithTimeout(ctx, 2*beat)
	defer stop()
	_, err := provision.Follow(limited, t, steps.Move(m.new, "renew"), func(string) {})
	if ctx.Err() != nil {
		return nil // it is over
	}
	return err
}

// goBack has the old host go on, because of err.
func (m *moving) goBack(ctx context.Context, err error) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), goingBack)
	defer stop()
	var errs []error
	if _, failed := m.do(ctx, m.newSite, "leave"); failed != nil {
		errs = append(errs, failed)
	}
	if _, failed := m.do(ctx, m.oldSite, "back"); failed != nil {
		errs = append(errs, failed)
	}
	if len(errs) > 0 {
		return hint.Add(fmt.Errorf("%w; and going back: %w", err, errors.Join(errs...)), "a host that is not heard of goes back by itself within two minutes; then run it again")
	}
	return hint.Add(fmt.Errorf("%w; %s runs on %s as before", err, m.new.Name, m.from.Name), "what is on %s by now, the next try goes on with", m.new.Host.Name)
}

// finish does what is left once the new host is the one.
func (m *moving) finish(ctx context.Context) error {
	again := func(err error) error {
		return hint.Add(fmt.Errorf("%w; %s has moved to %s, and not all is done", err, m.new.Name, m.new.Host.Name), "run it again: it finishes that")
	}
	if _, err := m.do(ctx, m.newSite, "here", m.by(ctx, m.newSite)); err != nil {
		return again(err)
	}
	facts, err := m.do(ctx, m.newSite, "look", m.new.Version)
	if err == nil && len(facts["running"]) == 0 { // its lease was over, or it was started anew
		err = m.start(ctx)
	}
	if err != nil {
		return again(err)
	}
	if err := m.make(ctx, m.newSite, m.all()); err != nil {
		return again(err)
	}
	if err := m.make(ctx, m.oldSite, m.out()); err != nil {
		return again(err)
	}
	if names := volumeNames(m.volumes); names != "" {
		m.tell(m.oldSite, "the volumes stay as they were when it stopped; when nobody needs them: docker volume rm %s", names)
	}
	return nil
}

func volumeNames(volumes []volume) string {
	var names []string
	for _, v := range volumes {
		names = append(names, hint.Quote(v.name))
	}
	return strings.Join(names, " ")
}

// bytesOf writes a number of bytes for people.
func bytesOf(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d KiB", (n+1023)>>10)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}
