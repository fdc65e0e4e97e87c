package fleet

import (
	"context"
	"slices"
	"sync"

	"provision/inventory"
	"provision/provision"
	"provision/steps"
)

// LeftBehind returns what GitLab has of hosts that the inventory does not name, and what
// of it the hosts of the inventory hold. With ask, those are asked as an admin that may
// hold some of it, and no others. One that is not asked, or does not answer, or is no
// part of the fleet, keeps whatever it may hold.
func (f *Fleet) LeftBehind(ctx context.Context, ask bool) ([]steps.Left, *steps.Held, error) {
	if err := f.WaitToken(); err != nil {
		return nil, nil, err
	}
	held := &steps.Held{}
	left, err := steps.LeftBehind(ctx, f.Forge, f.Inventory)
	var asked []*inventory.Host
	for _, l := range left {
		asked = append(asked, l.Asks()...)
	}
	if err != nil || len(asked) == 0 {
		return left, held, err
	}
	var mu sync.Mutex
	seen := map[*inventory.Host]provision.Facts{}
	if ask {
		_, err = f.Each(ctx, ThenClose, func(ctx context.Context, s *Site) error {
			if !slices.Contains(asked, s.Host) {
				return nil
			}
			t, err := s.Target(ctx)
			if err != nil {
				return err
			}
			step := steps.Holds()
			all, err := provision.Look(ctx, t, []provision.Step{step})
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			seen[s.Host] = all.Of(step.Name())
			return nil
		})
		if err == nil {
			err = ctx.Err()
		}
	}
	for _, h := range asked {
		if facts, ok := seen[h]; ok {
			held.Add(h.Name, facts)
		} else {
			held.Lost(h.Name)
		}
	}
	return left, held, err
}
