package provision

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// jobsToMeasure are thirty probes, half of them of another user.
func jobsToMeasure() []job {
	var jobs []job
	for i := range 30 {
		s := Script{Text: fmt.Sprintf("fact n %d\n%s", i, strings.Repeat("fact k \"$1\" # as long as a real one\n", 20)), Args: []string{"it's an argument"}}
		if i >= 15 {
			s.User = "deploy-user"
		}
		jobs = append(jobs, job{script: s, probe: true})
	}
	return jobs
}

func BenchmarkProgram(b *testing.B) {
	jobs := jobsToMeasure()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := newProgram(jobs); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkListen reads an answer with 600 facts and as many lines of output.
func BenchmarkListen(b *testing.B) {
	jobs := jobsToMeasure()
	prog, err := newProgram(jobs)
	if err != nil {
		b.Fatal(err)
	}
	var answer bytes.Buffer
	for i := range jobs {
		for mark, of := range prog.marks {
			if i < 15 && of.from == 0 || i >= 15 && of.from == 15 {
				fmt.Fprintf(&answer, "%sbegin %d\n", mark, i)
				for range 20 {
					fmt.Fprintf(&answer, "%sfact key=a value that is not too short\na line of output\n", mark)
				}
				fmt.Fprintf(&answer, "%send %d 0\n", mark, i)
			}
		}
	}
	b.SetBytes(int64(answer.Len()))
	b.ReportAllocs()
	for b.Loop() {
		results, _, err := prog.listen(bytes.NewReader(answer.Bytes()), len(jobs), func(int, Kind, string) {})
		if err != nil || !results[29].ended {
			b.Fatal(err)
		}
	}
}
