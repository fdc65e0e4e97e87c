// Package usage has the error of whoever has typed a command or written an
// inventory: nothing was done, and the same words will not do the next time.
package usage

import "fmt"

// An Error is wrong usage, or a wrong inventory. It reads as Err does.
type Error struct{ Err error }

func (e Error) Error() string { return e.Err.Error() }

// Unwrap implements the interface that [errors.Is] looks for.
func (e Error) Unwrap() error { return e.Err }

// Errorf returns an [Error] that says what [fmt.Errorf] would.
func Errorf(format string, args ...any) error {
	return Error{fmt.Errorf(format, args...)}
}
