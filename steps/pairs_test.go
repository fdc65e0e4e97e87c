package steps

import (
	"flag"
	"strings"
	"testing"

	"provision/e2e/sample"
)

var pairsMany = flag.Int("pairs", 500, "take `N` pairs of inventories; make test takes 10,000, without the race detector, which makes them six times slower")

// Of any two inventories: from the one to the other, what both want is never without
// anything that it needs, and its jobs reach it at any moment. When what the plans name is
// removed, and a deploy has come in, there is what the new one wants and nothing else
// that opens anything; and there is nothing more to do.
func TestAnyPairOfInventories(t *testing.T) {
	r := sample.Rand(t)
	const each = 50 // pairs of one world
	for n := range *pairsMany / each {
		w := newPaperWorld(t, r)
		for m := range each {
			w.new, w.log, w.freed = w.draw(), nil, false
			w.become()
			if t.Failed() {
				t.Fatalf("pair %d of world %d, from\n%s\nto\n%s\n%s", m, n, describeAll(w.old), describeAll(w.new), strings.Join(w.log, "\n"))
			}
			w.old = w.new
		}
	}
}

func (w *paperWorld) become() {
	for range 6 {
		made, refused, left := w.apply()
		if w.t.Failed() {
			return
		}
		for _, what := range left {
			w.remove(what)
		}
		forgotten := w.forget()
		if w.t.Failed() {
			return
		}
		if len(left) == 0 && forgotten == 0 {
			for _, d := range refused {
				w.free(d)
			}
		}
		if made == 0 && len(refused) == 0 && len(left) == 0 && forgotten == 0 {
			break
		}
	}
	w.deploys()
	w.freed = true // jobs are rendered anew by now
	w.apply()
	made, refused, left := w.apply()
	if forgotten := w.forget(); made+forgotten > 0 || len(refused) > 0 || len(left) > 0 {
		w.t.Errorf("at last %d changes are made, %d forgotten, %v refuse, %v are left", made, forgotten, refused, left)
	}
	w.exact()
}
