package inventory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"provision/provision/secret"
)

// A Secret says where a secret is found; it does not hold one. Exactly one of
// the fields is set, or none: see [Secret.IsZero].
type Secret struct {
	Env     string   // name of an environment variable
	File    string   // path of a file
	Command []string // a program and its arguments; no shell is involved

	dir string // where Command runs: beside the inventory
}

// IsZero reports whether s refers to nothing.
func (s Secret) IsZero() bool { return s.Env == "" && s.File == "" && len(s.Command) == 0 }

// String says what s refers to, for errors. Of a command it names the program
// alone.
func (s Secret) String() string {
	switch {
	case s.Env != "":
		return "the environment variable " + s.Env
	case s.File != "":
		return "file " + strconv.Quote(s.File)
	case len(s.Command) > 0:
		return "command " + quote(s.Command[0])
	}
	return "no secret"
}

// A token or password is short; what is longer than this is the wrong file.
const maxSecret = 64 << 10

// How long a command that was cancelled may hold on to its output.
const commandGrace = time.Second

// Read fetches the secret.
//
// One newline at its end is cut; what is left must be one line of printable
// text. A file that everybody on the machine may read is refused; being
// readable by its group is accepted, for container platforms hand out secrets
// that way. A command runs in the directory of the inventory without input,
// and until ctx ends; what it prints on its standard error is thrown away, as
// nobody knows what is in it.
//
// No error holds the secret or anything that the command printed.
func (s Secret) Read(ctx context.Context) (secret.Value, error) { return s.read(ctx, oneLine) }

// ReadText is [Secret.Read] for text that may have several lines. Tabs are
// allowed as well.
func (s Secret) ReadText(ctx context.Context) (secret.Value, error) { return s.read(ctx, someLines) }

// ReadAll is [Secret.Read] for the content of a file: nothing is cut, and it may
// be any bytes, but not none.
func (s Secret) ReadAll(ctx context.Context) (secret.Value, error) { return s.read(ctx, notEmpty) }

// Key is the same for references to the same secret.
func (s Secret) Key() string {
	return strings.Join(append([]string{s.Env, s.File, s.dir}, s.Command...), "\x00")
}

// read fetches the secret, as form takes it.
func (s Secret) read(ctx context.Context, form func(string) (string, error)) (secret.Value, error) {
	var text string
	var err error
	switch {
	case s.Env != "":
		var set bool
		if text, set = os.LookupEnv(s.Env); text == "" {
			state := "is not set"
			if set {
				state = "is empty"
			}
			return secret.Value{}, fmt.Errorf("%s %s; export it, or name another source in the inventory", s, state)
		}
	case s.File != "":
		text, err = readPrivate(s.File)
	case len(s.Command) > 0:
		text, err = run(ctx, s.dir, s.Command)
	default:
		return secret.Value{}, errors.New("the inventory names no secret here")
	}
	if err == nil {
		text, err = form(text)
	}
	if err != nil {
		return secret.Value{}, fmt.Errorf("%s: %w", s, err)
	}
	return secret.New(text), nil
}

func readPrivate(path string) (string, error) {
	data, info, err := readFile(path, maxSecret)
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o004 != 0 {
		return "", errors.New("everybody on this machine may read it; run chmod o= on it, and replace the secret if others were here")
	}
	return string(data), nil
}

func run(ctx context.Context, dir string, argv []string) (string, error) {
	out := &limited{left: maxSecret}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Stdout = out
	cmd.WaitDelay = commandGrace
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case out.left < 0:
		return "", errTooLong
	case errors.As(err, &exit):
		return "", fmt.Errorf("%s; run it by hand to see why", exit.ProcessState)
	case err != nil:
		return "", fmt.Errorf("cannot run: %w", err)
	}
	return out.kept.String(), nil
}

var errTooLong = fmt.Errorf("gives more than %d KiB, which is no token or password", maxSecret>>10)

// limited keeps what is written to it, and fails beyond its limit.
type limited struct {
	kept bytes.Buffer // not embedded: its ReadFrom knows no limit
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	l.left -= len(p)
	if l.left < 0 {
		return 0, errTooLong
	}
	return l.kept.Write(p)
}

func oneLine(text string) (string, error) {
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	switch {
	case text == "":
		return "", errors.New("is empty")
	case strings.ContainsAny(text, "\r\n"):
		return "", errors.New("gives several lines; a token or password is one")
	case strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "", errors.New("holds control characters; a token or password has none")
	}
	return text, nil
}

func someLines(text string) (string, error) {
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	control := func(r rune) bool { return !unicode.IsPrint(r) && !strings.ContainsRune("\n\r\t", r) }
	switch {
	case text == "":
		return "", errors.New("is empty")
	case !utf8.ValidString(text):
		return "", errors.New("is not UTF-8")
	case strings.ContainsFunc(text, control):
		return "", errors.New("holds control characters; a variable has none")
	}
	return text, nil
}

func notEmpty(text string) (string, error) {
	if text == "" {
		return "", errors.New("is empty")
	}
	return text, nil
}

// readFile reads a regular file of at most limit bytes. Its errors do not
// repeat the path.
func readFile(path string, limit int64) ([]byte, os.FileInfo, error) {
	// Opening a pipe would wait for its other end.
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, nil, errors.New("there is no such file")
	case err != nil:
		return nil, nil, fmt.Errorf("cannot be read: %w", withoutPath(err))
	case !info.Mode().IsRegular():
		return nil, nil, errors.New("is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot be read: %w", withoutPath(err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("cannot be read: %w", withoutPath(err))
	case int64(len(data)) > limit:
		return nil, nil, fmt.Errorf("is larger than %d KiB", limit>>10)
	}
	return data, info, nil
}

func withoutPath(err error) error {
	var pathErr *os.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}
