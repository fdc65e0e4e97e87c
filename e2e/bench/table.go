package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"
)

// A table is what is printed in the end.
type table struct{ rows []row }

type row struct{ what, measured, target, met string }

// add adds a row with a target.
func (t *table) add(what, measured, target string, met bool) {
	word := "no"
	if met {
		word = "yes"
	}
	t.rows = append(t.rows, row{what, measured, target, word})
}

// note adds a row that is there to compare with.
func (t *table) note(what, measured string) {
	t.rows = append(t.rows, row{what, measured, "", ""})
}

func (t *table) print(out io.Writer) {
	fmt.Fprintf(out, "%s\n\n| what | measured | target | met |\n|---|---|---|---|\n", machine())
	for _, r := range t.rows {
		fmt.Fprintf(out, "| %s | %s | %s | %s |\n", r.what, r.measured, r.target, r.met)
	}
}

// machine names where this runs.
func machine() string {
	model := runtime.GOARCH
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	var kernel string
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = strings.TrimSpace(string(text))
	}
	load, _, _ := strings.Cut(read("/proc/loadavg"), " ")
	return fmt.Sprintf("%d × %s, Linux %s, %s; load at the end %s", runtime.NumCPU(), model, kernel, runtime.Version(), load)
}

func read(file string) string {
	text, _ := os.ReadFile(file)
	return string(text)
}

func ms(d time.Duration) string {
	switch {
	case d < 20*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

func mib(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
