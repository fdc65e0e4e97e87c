package verify

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/jstemmer/go-junit-report/v2/junit"

	"provision/cmd/output"
)

// WriteJUnit writes a report as GitLab shows it: one suite for each host, one
// case for each step.
func (v *Verification) WriteJUnit(file string) error {
	suites := junit.Testsuites{Name: "provision verify", Time: fmt.Sprintf("%.3f", v.report.Took().Seconds())}
	for _, host := range v.hosts() {
		suite := junit.Testsuite{Name: host, Time: "0"} // hosts are looked at side by side
		for _, verdict := range v.verdicts[host] {
			class := host
			if verdict.deployment != "" {
				class += "." + verdict.deployment
			}
			c := junit.Testcase{Name: verdict.step, Classname: class}
			if !verdict.ok() {
				text := strings.Join(slices.Concat(verdict.breaches, verdict.wrong), "\n")
				c.Failure = &junit.Result{Message: verdict.reason(), Type: "drift", Data: output.VisibleLines(text)}
			}
			if verdict.ok() && v.mode.Strict && len(verdict.notes) > 0 {
				c.Failure = &junit.Result{Message: firstLine(verdict.notes[0]), Type: "note", Data: output.VisibleLines(strings.Join(verdict.notes, "\n"))}
			}
			var said []string
			if missed := verdict.missed(); missed != "" {
				said = append(said, "not checked: "+missed)
			}
			for _, n := range verdict.notes {
				said = append(said, "note: "+n)
			}
			if len(said) > 0 {
				c.SystemOut = &junit.Output{Data: output.VisibleLines(strings.Join(said, "\n"))}
			}
			suite.AddTestcase(c)
		}
		if err := v.errs[host]; err != nil {
			suite.AddTestcase(junit.Testcase{Name: "look", Classname: host, Error: &junit.Result{
				Message: firstLine(err.Error()), Type: "error", Data: output.VisibleLines(err.Error()),
			}})
		}
		suites.AddSuite(suite)
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(suites.WriteXML(out), out.Close())
}

func (v *Verification) hosts() []string {
	hosts := map[string]bool{}
	for h := range v.verdicts {
		hosts[h] = true
	}
	for h := range v.errs {
		hosts[h] = true
	}
	return slices.Sorted(maps.Keys(hosts))
}
