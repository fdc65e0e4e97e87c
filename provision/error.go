package provision

import (
	"errors"
	"fmt"
	"strings"

	"provision/provision/forge"
)

// A StepError says where something went wrong. It reads
// "host: step: change: reason"; parts that do not apply are left out.
type StepError struct {
	Host   string
	Step   string
	Change string
	Status int      // exit status of a script; 0 if it is not about one
	Output []string // the last lines that the script printed, made visible
	Err    error
}

func (e *StepError) Error() string {
	var parts []string
	for _, p := range []string{e.Host, e.Step, e.Change} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	switch {
	case e.Err != nil:
		parts = append(parts, e.Err.Error())
	case len(e.Output) > 0:
		parts = append(parts, e.Output[len(e.Output)-1])
	default:
		parts = append(parts, fmt.Sprintf("exit status %d", e.Status))
	}
	return strings.Join(parts, ": ")
}

func (e *StepError) Unwrap() error { return e.Err }

// ErrUnknown tells that a script began and never said how it ended: its
// change may or may not be done. Running again finds out.
var ErrUnknown = errors.New("the connection ended before the host said how it went; it may or may not be done")

// reasonOf returns the error of a call without what it was to do, which the
// change says.
func reasonOf(err error) error {
	var act forge.ChangeError
	if errors.As(err, &act) && act.Error() == err.Error() {
		return &reason{err, act.Reason()}
	}
	return err
}

type reason struct {
	error
	text string
}

func (r *reason) Error() string { return r.text }
func (r *reason) Unwrap() error { return r.error }

// at says on which host the step errors in err happened.
func at(host string, err error) error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var errs []error
		for _, e := range joined.Unwrap() {
			errs = append(errs, at(host, e))
		}
		return errors.Join(errs...)
	}
	var step *StepError
	if errors.As(err, &step) {
		if step.Host == "" {
			step.Host = host
		}
		return err
	}
	return &StepError{Host: host, Err: err}
}
