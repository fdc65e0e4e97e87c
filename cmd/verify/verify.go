// Package verify looks whether hosts are as they should be, as an admin or with
// what a CI key may see, tries what such a key must not be able to do, and tells
// what it found: in lines, as a report for GitLab, and as a page.
package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"provision/cmd/fleet"
	"provision/cmd/output"
	"provision/cmd/usage"
	"provision/inventory"
	"provision/provision"
	"provision/provision/forge/job"
	"provision/provision/hint"
	"provision/provision/remote"
	"provision/provision/secret"
	"provision/steps"
)

// A Verification looks at a fleet once, and collects what it finds.
type Verification struct {
	mode   Mode
	report *output.Report
	key    secret.Value // the one of a file

	mu       sync.Mutex
	verdicts map[string][]verdict // by host
	errs     map[string]error     // by host: what could not be looked at
	partly   map[string][]string  // by host: the deployments that this is about, if not all
	statuses map[*inventory.Deployment]output.Line
	path     string   // of the inventory
	left     []string // hosts that the inventory does not name, and GitLab does
}

// New reads the key that the mode names, and looks at nothing yet.
func New(m Mode, r *output.Report) (*Verification, error) {
	v := newVerification(m, r)
	var err error
	if m.Key == KeyInFile {
		v.key, err = readKey(m)
	}
	return v, err
}

func newVerification(m Mode, r *output.Report) *Verification {
	return &Verification{mode: m, report: r, verdicts: map[string][]verdict{}, errs: map[string]error{}, partly: map[string][]string{}, statuses: map[*inventory.Deployment]output.Line{}}
}

// Run looks at all hosts of a fleet, as soon as its token is known to do, and
// prints what it finds.
func (v *Verification) Run(ctx context.Context, f *fleet.Fleet) error {
	if err := f.WaitToken(); err != nil {
		return err
	}
	look := func(ctx context.Context, s *fleet.Site) error { return v.asCI(ctx, f, s) }
	if v.mode.As == Admin {
		look = func(ctx context.Context, s *fleet.Site) error { return v.asAdmin(ctx, f, s) }
	}
	v.path = f.Inventory.Path
	errs, err := f.Each(ctx, fleet.ThenClose, look)
	if err != nil {
		return err
	}
	if v.mode.Left {
		err = v.leftBehind(ctx, f)
	}
	var cost output.Cost
	cost.Connections, cost.Trips = f.Cost()
	v.print(f.Sites, errs, cost)
	if v.Failed() { // which GitLab may be the reason of, too
		return nil
	}
	return err
}

// Failed reports whether something could not be looked at.
func (v *Verification) Failed() bool { return len(v.errs) > 0 }

// Drift reports whether something is not as it should be.
func (v *Verification) Drift() bool {
	for _, verdicts := range v.verdicts {
		for _, found := range verdicts {
			if !found.ok() || v.mode.Strict && len(found.notes) > 0 {
				return true
			}
		}
	}
	return false
}

// A Shard is one of several parts of a fleet.
type Shard struct{ K, N int }

// ParseShard reads K/N.
func ParseShard(text string) (Shard, error) {
	left, right, _ := strings.Cut(text, "/")
	k, err1 := strconv.Atoi(left)
	n, err2 := strconv.Atoi(right)
	if err1 != nil || err2 != nil || k < 1 || n < k {
		return Shard{}, usage.Errorf("--shard is %q; write K/N with K from 1 to N", text)
	}
	return Shard{k, n}, nil
}

// Of returns the part of some hosts that is the shard's.
func (s Shard) Of(parts []fleet.Part) []fleet.Part {
	var mine []fleet.Part
	for i, p := range parts {
		if i%s.N == s.K-1 {
			mine = append(mine, p)
		}
	}
	return mine
}

// leftBehind looks what GitLab has of hosts that the inventory does not name.
func (v *Verification) leftBehind(ctx context.Context, f *fleet.Fleet) error {
	left, held, err := f.LeftBehind(ctx, v.mode.As == Admin)
	for _, l := range left {
		if l = l.Without(held); l.Empty() {
			continue
		}
		plan := l.Found()
		found := verdict{step: plan.Step}
		found.tell(plan.Notes)
		v.add(l.Host, found)
		v.left = append(v.left, l.Host)
	}
	return err
}

// asAdmin looks at a host with all rights.
func (v *Verification) asAdmin(ctx context.Context, f *fleet.Fleet, s *fleet.Site) error {
	t, err := s.Target(ctx)
	if err != nil {
		return err
	}
	v.asSeen(&t, job.Nothing)
	list := s.Steps(f.Given)
	looks := slices.Clone(list)
	if v.mode.Page {
		for _, d := range s.Deployments {
			looks = append(looks, steps.Status(d))
		}
	}
	seen, err := provision.Look(ctx, t, looks)
	if err != nil {
		return err
	}
	for i, l := range looks[len(list):] {
		v.tellStatus(s.Deployments[i], seen.Of(l.Name()).Get("status"))
	}
	plan, err := provision.CheckSeen(t, list, seen)
	verdicts, err := judge(s.Host.Name, "", list, v.mode.expects(), plan, err)
	v.add(s.Host.Name, verdicts...)
	return err
}

// asCI looks at every deployment of a host with its own key.
func (v *Verification) asCI(ctx context.Context, f *fleet.Fleet, s *fleet.Site) error {
	var errs []error
	var lost []string
	for _, d := range s.Deployments {
		if err := v.deployment(ctx, f, s, d); err != nil {
			errs, lost = append(errs, err), append(lost, d.Name)
		}
	}
	if len(lost) < len(s.Deployments) {
		v.lose(s.Host.Name, lost)
	}
	return errors.Join(errs...)
}

// lookTimeout bounds the look at one deployment and the proof of its
// restriction, as a host may take for ever to answer.
const lookTimeout = 3 * time.Minute

func (v *Verification) deployment(ctx context.Context, f *fleet.Fleet, s *fleet.Site, d *inventory.Deployment) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	key, err := v.keyOf(ctx, f, d)
	if err != nil {
		return about(d, err)
	}
	conn, err := f.LogIn(ctx, d, key, v.mode.way())
	var refused *remote.AuthError
	if errors.As(err, &refused) && refused.Given {
		err = hint.Add(err, "provision plan, or verify --as admin, says what stands in its way, and apply puts it right, unless this is not the key that CI has")
	}
	if err != nil {
		return err
	}
	defer conn.Close()

	v.report.Live.Doing(d.Host.Name, d.Name+": look")
	restriction := verdict{deployment: d.Name, step: "restriction " + d.Name}
	prove := true
	err = v.throughGate(ctx, f, s, d, key, conn)
	if err == nil && v.mode.Page {
		v.askStatus(ctx, conn, d)
	}
	var other *notGateError
	if errors.As(err, &other) {
		prove, err = restriction.withoutGate(ctx, conn, other)
	}
	if prove {
		v.report.Live.Doing(d.Host.Name, d.Name+": try what the key must not do")
		err = errors.Join(err, restriction.prove(ctx, conn))
		for _, name := range restriction.refused {
			v.report.Trace.About(d.Host.Name, d.Name+": tried, and refused: "+name)
		}
	}
	if err == nil || !restriction.ok() {
		v.add(d.Host.Name, restriction)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return about(d, fmt.Errorf("the host has not answered within %v", lookTimeout))
	}
	return err
}

// about says which deployment an error is about.
func about(d *inventory.Deployment, err error) error {
	return fmt.Errorf("%s: %s: %w", d.Host.Name, d.Name, err)
}
