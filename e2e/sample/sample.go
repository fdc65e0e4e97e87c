// Package sample is for tests that have more cases than there is time for: each run
// takes some of them, drawn by a seed that it prints, unless [Every] says otherwise.
package sample

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
)

const (
	// With every=1 nothing is drawn: all cases are taken.
	every = "PROVISION_TEST_EVERY"

	// All has all cases taken, in the environment.
	All = every + "=1"

	// The seed that a test has printed, to draw the same cases again.
	seedVariable = "PROVISION_TEST_SEED"
)

var seed = sync.OnceValues(func() (uint64, error) {
	if text := os.Getenv(seedVariable); text != "" {
		return strconv.ParseUint(text, 10, 64)
	}
	return rand.Uint64(), nil
})

// Every tells whether a test takes all of its cases.
func Every() bool { return os.Getenv(every) == "1" }

// Rand returns what draws for the test t: the same from the same seed, also where t
// runs alone, and something else for each test. It logs the seed.
func Rand(t testing.TB) *rand.Rand {
	t.Helper()
	again, r, err := draw(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("to draw the same cases again: %s", again)
	return r
}

// draw returns what draws for a name, and how to have it again.
func draw(name string) (again string, r *rand.Rand, err error) {
	s, err := seed()
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", seedVariable, err)
	}
	sum := fnv.New64a()
	sum.Write([]byte(name))
	return fmt.Sprintf("%s=%d", seedVariable, s), rand.New(rand.NewPCG(s, sum.Sum64())), nil
}

// Some returns n of all, in their order; or all, if there are fewer or [Every] says so.
func Some[T any](t testing.TB, all []T, n int) []T {
	t.Helper()
	if Every() || len(all) <= n {
		return all
	}
	return some(Rand(t), all, n)
}

// Names is [Some] for tests themselves, before there is one. It also returns what has to be in
// the environment to draw the same ones again.
func Names(all []string, n int) (drawn []string, again string, err error) {
	again, r, err := draw("")
	if err != nil {
		return nil, "", err
	}
	if Every() || len(all) <= n {
		return all, again, nil
	}
	return some(r, all, n), again, nil
}

func some[T any](r *rand.Rand, all []T, n int) (some []T) {
	places := r.Perm(len(all))[:n]
	slices.Sort(places)
	for _, i := range places {
		some = append(some, all[i])
	}
	return some
}
