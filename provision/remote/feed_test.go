package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// A program reads all that it is fed, byte by byte as it was, and nothing of it is
// taken for the program.
func TestFeed(t *testing.T) {
	for _, target := range []Target{labTarget("free", Sudo), labTarget("root", None), {Name: "here", Local: true}} {
		c := dialLab(t, target)
		data := bytes.Repeat([]byte("\x00\r\n\xff line\n"), 300_000)
		var out bytes.Buffer
		err := c.Feed(t.Context(), strings.NewReader("echo begin; sha256sum <&3"), bytes.NewReader(data), &out)
		if want := fmt.Sprintf("begin\n%x  -\n", sha256.Sum256(data)); err != nil || out.String() != want {
			t.Errorf("%s: %q, %v; want %q", target.Name, &out, err, want)
		}
		// One that ends early does not wait for the rest, which never comes.
		never, w := io.Pipe()
		var exit *ExitError
		if err := c.Feed(t.Context(), strings.NewReader("echo begin; exit 7"), never, io.Discard); !errors.As(err, &exit) || exit.Status != 7 {
			t.Errorf("%s: %v, want exit status 7", target.Name, err)
		}
		w.Close()
		// The end of the context is the end of what it reads.
		ctx, cancel := context.WithCancel(t.Context())
		never, w = io.Pipe()
		begun := writer(func(b []byte) { cancel() })
		if err := c.Feed(ctx, strings.NewReader("echo begin; cat <&3"), never, begun); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want %v", target.Name, err, context.Canceled)
		}
		w.Close()
	}
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) {
	w(b)
	return len(b), nil
}
