package provision

import (
	"bytes"
	"context"
	"io"

	"provision/provision/visible"
)

// Follow runs a script on the host that is no change of it, and passes on each
// line that it prints, made visible, as it comes and however many there are. It
// returns the facts that the script reports, also with an error.
//
// Why the script has failed is the error, and not among the lines. Nothing that comes
// after the end of ctx is passed on, such as how a shell tells that it was ended.
//
// No lock is taken and nothing is logged. When ctx ends, the script is ended on the
// host as well, but for what it has moved to a session of its own. The error is a
// [*StepError] without a step, or wraps that of ctx or [ErrUnknown].
func Follow(ctx context.Context, t Target, s Script, say func(line string)) (Facts, error) {
	prog, err := newProgram([]job{{script: s, apart: true}})
	if err != nil {
		return nil, at(t.Name, err)
	}
	prog.endless = true
	tell := func(_ int, kind Kind, text string) {
		if kind == Said && ctx.Err() == nil {
			say(text)
		}
	}
	results, stray, err := prog.talk(ctx, t, 1, func(ctx context.Context, out io.Writer) error {
		return t.Host.Run(ctx, bytes.NewReader(prog.text), out)
	}, tell)
	results[0].output = nil
	if why := results[0].facts.Get("why"); why != "" {
		results[0].output = []string{visible.String(why)}
	}
	delete(results[0].facts, "why")
	_, err = outcome(t, []pending{{}}, nil, results, stray, err, func(int, Kind, string) {})
	return results[0].facts, err
}
