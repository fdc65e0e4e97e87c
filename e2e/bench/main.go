// Command bench measures the program beside what nothing that uses SSH can go
// below, and prints a table: what it costs for one host, over a slow line, for
// a bare host, for many hosts, in GitLab, and to start. It runs in a lab, see
// package lab.
//
//	bench [flags] PROVISION
//
// PROVISION is the program as it is shipped. What is compared is run in turns,
// so what else the machine does meets both, and of all runs the median counts.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"provision/e2e/lab"
)

// The bench runs itself as these, for what must be a process of its own.
const (
	loginsCommand  = "logins"  // see logins
	measureCommand = "measure" // see measure
)

var (
	rounds = flag.Int("rounds", 15, "how often to run what takes less than a second; the rest is run less often")
	many   = flag.Int("hosts", 500, "how many hosts are many")
	only   = flag.String("only", "", "only the parts whose name this `REGEXP` matches")
)

func main() {
	log.SetFlags(0)
	runItself()
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: bench [flags] PROVISION")
		flag.PrintDefaults()
	}
	flag.Parse()
	chosen, err := regexp.Compile(*only)
	if flag.NArg() != 1 || err != nil || *rounds < 1 || *many < 2 {
		flag.Usage()
		os.Exit(2)
	}
	program, err := filepath.Abs(flag.Arg(0))
	if err != nil {
		log.Fatal(err)
	}
	l, code, err := lab.Enter(context.Background(), os.Stderr)
	if err != nil {
		log.Fatal(err)
	}
	if l == nil {
		os.Exit(code)
	}
	start := time.Now()
	b, err := newBench(context.Background(), l, program)
	if err != nil {
		log.Fatal(err)
	}
	rows, err := run(b, slices.DeleteFunc(slices.Clone(parts), func(p part) bool { return !chosen.MatchString(p.name) }))
	printTable(rows, time.Since(start))
	if err := errors.Join(err, b.Close(), l.Close()); err != nil {
		log.Fatal(err)
	}
}

// runItself ends the process where it is one that the bench runs itself as.
func runItself() {
	if len(os.Args) < 2 {
		return
	}
	switch os.Args[1] {
	case loginsCommand:
		if err := logins(os.Args[2:]); err != nil {
			log.Fatal(err)
		}
		os.Exit(0)
	case measureCommand:
		os.Exit(measure(os.Args[2:]))
	}
}

// A part measures something, and returns rows of the table.
type part struct {
	name string
	run  func(*bench) ([]row, error)
}

var parts = []part{
	{"start", (*bench).start},
	{"one", (*bench).oneHost},
	{"slow", (*bench).slowLine},
	{"bare", (*bench).bareHost},
	{"deploy", (*bench).deploys},
	{"many", (*bench).manyHosts},
	{"shards", (*bench).shards},
	{"gitlab", (*bench).requests},
	{"interrupt", (*bench).interrupt},
	{"ansible", (*bench).ansible},
	{"pyinfra", (*bench).pyinfra},
}

// run measures parts. For one that cannot be measured there is a row that says
// why, and an error.
func run(b *bench, parts []part) (rows []row, err error) {
	var failed []error
	for _, p := range parts {
		start := time.Now()
		some, err := p.run(b)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: not measured: %w", p.name, err))
			some = append(some, row{what: p.name, ours: "not measured", why: err})
		}
		log.Printf("%s: %.0f s", p.name, time.Since(start).Seconds())
		rows = append(rows, some...)
	}
	return rows, errors.Join(failed...)
}

// A row is one line of the table.
type row struct {
	what, ours, floor, compared string
	target                      string // "": none, the row is there to compare
	met                         bool
	why                         error // why there is nothing
}

func printTable(rows []row, took time.Duration) {
	fmt.Printf("%s, %d cores, Linux %s, %s; commit %s; medians; all of it took %.0f s.\n\n",
		cpu(), runtime.NumCPU(), strings.TrimSpace(read("/proc/sys/kernel/osrelease")), runtime.Version(), commit(), took.Seconds())
	fmt.Println("| what | measured | floor | compared | target | met |")
	fmt.Println("|---|---|---|---|---|---|")
	for _, r := range rows {
		met := ""
		switch {
		case r.why != nil:
			r.compared, _, _ = strings.Cut(r.why.Error(), "\n")
		case r.target != "" && r.met:
			met = "yes"
		case r.target != "":
			met = "**no**"
		}
		fmt.Printf("| %s | %s | %s | %s | %s | %s |\n", r.what, r.ours, r.floor, r.compared, r.target, met)
	}
}

func read(file string) string {
	text, _ := os.ReadFile(file)
	return string(text)
}

func cpu() string {
	for line := range strings.Lines(read("/proc/cpuinfo")) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return runtime.GOARCH
}

func commit() string {
	out, err := exec.Command("git", "-c", "safe.directory=*", "describe", "--always", "--dirty", "--exclude=*").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
