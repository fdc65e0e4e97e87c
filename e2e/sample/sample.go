// Package sample is for tests that have more cases than there is time for: each run
// takes some of them, drawn by a seed that it prints, and make faults takes all.
package sample

import (
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
	s, err := seed()
	if err != nil {
		t.Fatalf("%s: %v", seedVariable, err)
	}
	t.Logf("to draw the same cases again: %s=%d", seedVariable, s)
	name := fnv.New64a()
	name.Write([]byte(t.Name()))
	return rand.New(rand.NewPCG(s, name.Sum64()))
}

// Some returns n of all, in their order; or all, if there are fewer or [Every] says so.
func Some[T any](t testing.TB, all []T, n int) []T {
	t.Helper()
	if Every() || len(all) <= n {
		return all
	}
	var some []T
	places := Rand(t).Perm(len(all))[:n]
	slices.Sort(places)
	for _, i := range places {
		some = append(some, all[i])
	}
	return some
}
