package verify

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/jstemmer/go-junit-report/v2/junit"

	"provision/provision/visible"
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
				text := joined(slices.Concat(plainly(verdict.breaches...), verdict.wrong))
				c.Failure = &junit.Result{Message: verdict.reason(), Type: "drift", Data: visible.Lines(text)}
			}
			if verdict.ok() && v.mode.Strict && len(verdict.notes) > 0 {
				c.Failure = &junit.Result{Message: firstLine(verdict.notes[0].text), Type: "note", Data: visible.Lines(joined(verdict.notes))}
			}
			var said []string
			if missed := verdict.missed(); missed != "" {
				said = append(said, "not checked: "+missed)
			}
			for _, n := range verdict.notes {
				said = append(said, "note: "+n.String())
			}
			if len(said) > 0 {
				c.SystemOut = &junit.Output{Data: visible.Lines(strings.Join(said, "\n"))}
			}
			suite.AddTestcase(c)
		}
		if err := v.errs[host]; err != nil {
			suite.AddTestcase(junit.Testcase{Name: "look", Classname: host, Error: &junit.Result{
				Message: firstLine(err.Error()), Type: "error", Data: visible.Lines(findingOf(err).String()),
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

// joined are some findings, one below the other.
func joined(all []finding) string {
	var texts []string
	for _, f := range all {
		texts = append(texts, f.String())
	}
	return strings.Join(texts, "\n")
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
