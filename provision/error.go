package provision

import (
	"errors"
	"fmt"
	"strings"
)

// A StepError says where something went wrong. It reads
// "host: step: change: reason"; parts that do not apply are left out.
type StepError struct {
	Host   string
	Step   string
	Change string
	Status int      // exit status of a script; 0 if it is not about one
	Output []string // the last lines that the script printed, made visible
	Hint   string   // what the reader can do; may be empty
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
	text := strings.Join(parts, ": ")
	if e.Hint != "" {
		text += "\nhint: " + e.Hint
	}
	return text
}

func (e *StepError) Unwrap() error { return e.Err }

// ErrUnknown tells that a script began and never said how it ended: its
// change may or may not be done. Running again finds out.
var ErrUnknown = errors.New("the connection ended before the host said how it went; it may or may not be done")

// Hint adds a hint to an error: what the reader can do about it. It stands on
// a line of its own in the text of the error, behind "hint: ".
func Hint(err error, format string, args ...any) error {
	return fmt.Errorf("%w\nhint: %s", err, fmt.Sprintf(format, args...))
}

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
