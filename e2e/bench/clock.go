package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A timed thing is run, and tells how long it took.
type timed func() (time.Duration, error)

// inTurns runs things one after another, in rounds, and returns the times of
// each. The first round warms up, and does not count.
func inTurns(rounds int, things ...timed) ([][]time.Duration, error) {
	times := make([][]time.Duration, len(things))
	for round := range rounds + 1 {
		for i, run := range things {
			t, err := run()
			if err != nil {
				return nil, err
			}
			if round > 0 {
				times[i] = append(times[i], t)
			}
		}
	}
	return times, nil
}

// timed returns a command as something to time. Its exit code must be the one
// that is expected.
func (b *bench) timed(code int, args ...string) timed {
	return func() (time.Duration, error) {
		start := time.Now()
		_, err := b.command(code, args...)
		return time.Since(start), err
	}
}

// command runs a command and returns what it printed.
func (b *bench) command(code int, args ...string) (string, error) {
	cmd := exec.CommandContext(b.ctx, args[0], args[1:]...)
	cmd.Env = b.env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); cmd.ProcessState == nil {
		return "", err
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		return "", fmt.Errorf("%s ended with %d: %s", strings.Join(args, " "), got, lastLine(errs.String()+out.String()))
	}
	return out.String(), nil
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// A measurement is what a process cost.
type measurement struct {
	Took   time.Duration
	Memory int64 // the most that was resident, in bytes
}

// measured runs a command by way of [measure].
func (b *bench) measured(args ...string) (m measurement, err error) {
	out, err := b.command(0, append([]string{b.self, measureCommand}, args...)...)
	if err == nil {
		err = json.Unmarshal([]byte(lastLine(out)), &m)
	}
	return m, err
}

// measure runs a command, and prints what it cost. It is a process of its own,
// because Linux counts the memory of whoever starts a process as if that were
// its own, and the bench itself is a large one.
func measure(args []string) int {
	cmd := exec.Command(args[0], args[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	m := measurement{Took: time.Since(start)}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s\n%v\n", &out, err)
		return 1
	}
	m.Memory = cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	text, _ := json.Marshal(m)
	fmt.Printf("%s\n", text)
	return 0
}

func median(times []time.Duration) time.Duration {
	times = slices.Sorted(slices.Values(times))
	n := len(times)
	return (times[(n-1)/2] + times[n/2]) / 2
}

// show writes a time with three digits.
func show(t time.Duration) string {
	if t < 100*time.Millisecond {
		return fmt.Sprintf("%.1f ms", t.Seconds()*1000)
	} else if t < 10*time.Second {
		return fmt.Sprintf("%.2f s", t.Seconds())
	}
	return fmt.Sprintf("%.1f s", t.Seconds())
}

// ratio is a row that says how many times the floor something takes. Without a
// most, that is just told.
func ratio(what string, ours, floor []time.Duration, most float64) row {
	o, f := median(ours), median(floor)
	times := o.Seconds() / f.Seconds()
	r := row{what: what, ours: show(o), floor: show(f), compared: fmt.Sprintf("%.2f ×", times), met: times <= most}
	if most > 0 {
		r.target = fmt.Sprintf("≤ %g ×", most)
	}
	return r
}
