// Bench measures the program against what it costs to log in at all: it runs
// in the lab, interleaves what it compares, and prints a table of medians and
// ratios. The program is given as its argument, built as it is released.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"provision/e2e/lab"
)

// A bench is one run of all measurements.
type bench struct {
	program string
	lab     *lab.Lab
	dir     string
	table   table
	fleet   int // how many hosts a fleet has
}

func main() {
	log.SetFlags(0)
	only := flag.String("only", "", "measure only these, e.g. start,host: "+strings.Join(names(), ", "))
	fleet := flag.Int("fleet", 500, "how many hosts a fleet has")
	logins := flag.String("logins", "", "do nothing but log in to all addresses of `FILE`")
	width := flag.Int("width", 0, "how many logins at a time")
	flag.Parse()
	if *logins != "" {
		if err := logInToAll(*logins, *width); err != nil {
			log.Fatal(err)
		}
		return
	}
	program, err := filepath.Abs(flag.Arg(0))
	if err != nil || flag.NArg() != 1 {
		log.Fatal("usage: bench [flags] PROGRAM")
	}
	l, code, err := lab.Enter(context.Background(), os.Stderr)
	if err != nil {
		log.Fatal(err)
	}
	if l == nil {
		os.Exit(code)
	}
	b := &bench{program: program, lab: l, fleet: *fleet}
	if b.dir, err = os.MkdirTemp("/run", "bench-"); err != nil {
		log.Fatal(err)
	}
	var errs []error
	for _, m := range measurements {
		if *only != "" && !strings.Contains(","+*only+",", ","+m.name+",") {
			continue
		}
		fmt.Fprintf(os.Stderr, "bench: %s\n", m.what)
		if err := m.run(b, context.Background()); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.name, err))
		}
	}
	b.table.print(os.Stdout)
	errs = append(errs, l.Close())
	if err := errors.Join(errs...); err != nil {
		log.Fatal(err)
	}
}

// The measurements, in the order of the table.
var measurements []measurement

func init() {
	measurements = []measurement{
		{"start", "start-up, and a large inventory", (*bench).start},
		{"host", "one host", (*bench).host},
		{"fleet", "many hosts", (*bench).many},
	}
}

type measurement struct {
	name, what string
	run        func(*bench, context.Context) error
}

func names() []string {
	var all []string
	for _, m := range measurements {
		all = append(all, m.name)
	}
	return all
}
