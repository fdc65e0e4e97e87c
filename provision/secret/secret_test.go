package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

const hush = "hush-hush-5f3a"

// Holders of a secret, as they stand in the rest of the program.
type exported struct {
	Name   string
	Secret Value
}
type unexported struct {
	name   string
	secret Value
}
type pointing struct{ secret *Value }

func TestPrintsMask(t *testing.T) {
	values := map[string]Value{
		"new":  New(hush),
		"born": Born(func() (string, error) { return hush, nil }),
		"zero": {},
	}
	filled := Born(nil)
	filled.Fill(hush)
	values["filled"] = filled
	values["born"].Reveal()
	for name, v := range values {
		for _, verb := range []string{"v", "+v", "#v", "s", "q", "x", "X", "d", "T", "p", "t", "e", "c", "U", "10s", "-3v", ".2s", "!"} {
			got := fmt.Sprintf("%"+verb, v)
			if verb != "T" && verb != "p" && got != "(secret)" {
				t.Errorf("%s: %%%s prints %q", name, verb, got)
			}
		}
	}
	v := values["new"]
	for name, holder := range map[string]any{
		"exported": exported{"a", v}, "unexported": unexported{"a", v}, "pointer": &unexported{"a", v}, "pointing": pointing{&v},
		"slice": []Value{v}, "slice of holders": []unexported{{"a", v}}, "map": map[string]Value{"k": v}, "key": map[Value]string{v: "k"}, "any": []any{v},
		"to it": &v, "array": [1]Value{v}, "func": struct{ f func() Value }{func() Value { return v }},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T", "%p"} {
			if got := fmt.Sprintf(verb, holder); shows(got) {
				t.Errorf("%s: %s prints %q", name, verb, got)
			}
		}
	}
	if got := fmt.Sprintf("%v", exported{"a", v}); got != "{a (secret)}" {
		t.Errorf("in a struct it is %q", got)
	}
}

// shows tells whether a text has the secret, as it is or in hexadecimal.
func shows(text string) bool {
	text = strings.ToLower(text)
	return strings.Contains(text, hush) || strings.Contains(text, fmt.Sprintf("%x", hush)) || strings.Contains(text, strings.Trim(fmt.Sprint([]byte(hush)), "[]"))
}

func TestEncodesAsMask(t *testing.T) {
	v := New(hush)
	got, err := json.Marshal(map[string]any{"value": v, "struct": exported{"a", v}, "map": map[Value]int{v: 1}, "hidden": unexported{"a", v}})
	if want := `{"hidden":{},"map":{"(secret)":1},"struct":{"Name":"a","Secret":"(secret)"},"value":"(secret)"}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		slog.New(handler(&b)).Info("it", "value", v, "struct", exported{"a", v}, "hidden", unexported{"a", v}, "group", slog.GroupValue(slog.Any("v", v)))
		if shows(b.String()) || strings.Count(b.String(), "(secret)") < 3 {
			t.Errorf("%s: %s", name, b.String())
		}
	}
}

func TestErrorsDoNotShowIt(t *testing.T) {
	v := New(hush)
	err := fmt.Errorf("login with %v as %+v: %w", v, unexported{"a", v}, errors.New("refused"))
	if shows(err.Error()) || !strings.HasPrefix(err.Error(), "login with (secret) as ") {
		t.Error(err)
	}
}

func TestReveal(t *testing.T) {
	check := func(v Value, want string, wantErr error) {
		t.Helper()
		if got, err := v.Reveal(); got != want || !errors.Is(err, wantErr) {
			t.Errorf("got %q, %v, want %q, %v", got, err, want, wantErr)
		}
	}
	check(Value{}, "", ErrEmpty)
	check(New(hush), hush, nil)
	check(New(""), "", nil)

	empty := Born(nil)
	copied := empty
	check(empty, "", ErrEmpty)
	empty.Fill(hush)
	check(copied, hush, nil)
	copied.Fill("other")
	check(empty, "other", nil)

	if !(Value{}).IsZero() || New("").IsZero() || Born(nil).IsZero() {
		t.Error("the zero Value alone is zero")
	}
}

func TestBirth(t *testing.T) {
	births := 0
	fails := errors.New("no entropy")
	v := Born(func() (string, error) {
		if births++; births == 1 {
			return "", fails
		}
		return hush, nil
	})
	copied := v
	if births != 0 {
		t.Error("born before it was revealed")
	}
	if _, err := v.Reveal(); err != fails {
		t.Errorf("got %v", err)
	}
	for range 2 {
		if got, err := copied.Reveal(); got != hush || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if births != 2 {
		t.Errorf("%d births, want one that failed and one that did not", births)
	}

	never := Born(func() (string, error) { t.Error("born, though filled"); return "", nil })
	never.Fill(hush)
	if got, _ := never.Reveal(); got != hush {
		t.Errorf("got %q", got)
	}
}

func TestDigest(t *testing.T) {
	got, err := New("secret").Digest("salt")
	// printf saltsecret | sha256sum
	if want := "bede90386d450cea8b77b822f8887065e4e5abf132c2f9dccfcc7fbd4cba5e35"; got != want || err != nil {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	if other, _ := New("secret").Digest("pepper"); other == got {
		t.Error("the salt makes no difference")
	}
	if _, err := Born(nil).Digest("salt"); !errors.Is(err, ErrEmpty) {
		t.Errorf("got %v", err)
	}
}

func TestManyAtOnce(t *testing.T) {
	var births atomic.Int32
	born := Born(func() (string, error) { births.Add(1); return hush, nil })
	filled := Born(nil)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if got, err := born.Reveal(); got != hush || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
			filled.Fill(hush)
			if got, err := filled.Reveal(); got != hush || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
			_ = fmt.Sprint(born, filled)
		})
	}
	wg.Wait()
	if n := births.Load(); n != 1 {
		t.Errorf("%d births", n)
	}
}
