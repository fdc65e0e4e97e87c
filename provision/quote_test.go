package provision

import (
	"bytes"
	"encoding/hex"
	"os/user"
	"slices"
	"strings"
	"testing"

	"provision/e2e/sample"
	"provision/provision/secret"
)

// hostile are values that a careless program would run, cut or change.
var hostile = []string{
	"", " ", "'", "''", `\`, `\\`, `\'`, `'\''`, `"`, "`id`", "$(id)", "$HOME", "${HOME}", "$'\\n'", "!!", "*", "~", "-n", "-e", "--",
	"\n", "\n\n", "a\n", "\na", "a\nb", "\r\n", "\t", "\x01\x7f", "\x80\xff", "ü", "a;b", "a&&b", "a|b", ">f", "#c", "%s%n", `\c`, `\0101`,
	"}\nprovision() { echo ran; }\n", "\n) </dev/null\n", "EOF", "@0123456789abcdef0123456789abcdef end 0 0", strings.Repeat("'", 3000), strings.Repeat("long ", 10_000),
}

// TestArgumentsArriveUnchanged gives scripts every hostile value and some
// random ones, at root and, quoted twice, at another user, and compares what
// arrives to the byte.
func TestArgumentsArriveUnchanged(t *testing.T) {
	const show = `for value; do
	printf '%s' "$value" | od -An -v -tx1 | tr -d ' \n'
	echo
done`
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	random := sample.Rand(t)
	args := slices.Clone(hostile)
	const bytesOfShells = "'\"\\$`!*?[]{}()<>|&;#~=% \t\n\rabn0-@\x01\x80\xc3\xff"
	for range 40 {
		var b strings.Builder
		for range random.IntN(30) {
			b.WriteByte(bytesOfShells[random.IntN(len(bytesOfShells))])
		}
		args = append(args, b.String())
	}
	eachShell(t, func(t *testing.T, h *shellHost) {
		for _, user := range []string{"", me.Username} {
			var got []string
			if _, err := run(t.Context(), Target{Name: "h", Host: h},
				nil, []pending{{"s", Change{Do: Script{User: user, Text: show, Args: args}}}}, nil, func(e Event) {
					if e.Kind == Said {
						got = append(got, e.Text)
					}
				}); err != nil {
				t.Fatal(err)
			}
			if len(got) != len(args) {
				t.Fatalf("%d values arrived, want %d", len(got), len(args))
			}
			for i, arg := range args {
				want := hex.EncodeToString([]byte(arg))
				if len(want) > maxLine {
					want = want[:maxLine]
				}
				if got[i] != want {
					t.Errorf("as %q: %.80q arrived as %.160s", user, arg, got[i])
				}
			}
		}
	})
}

func TestSecretsArriveUnchanged(t *testing.T) {
	eachShell(t, func(t *testing.T, h *shellHost) {
		var todo []pending
		var want []string
		for _, value := range hostile {
			todo = append(todo, pending{"s", Change{Do: Script{Text: `secret | od -An -v -tx1 | tr -d ' \n'; echo`, Secret: secret.New(value)}}})
			hexed := hex.EncodeToString([]byte(value))
			want = append(want, hexed[:min(len(hexed), maxLine)])
		}
		var got []string
		if _, err := run(t.Context(), Target{Name: "h", Host: h}, nil, todo, nil, func(e Event) {
			if e.Kind == Said {
				got = append(got, e.Text)
			}
		}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("got  %.200q\nwant %.200q", got, want)
		}
	})
}

// A secret in the environment of the shell, or a mark, would be seen by every
// process that a script starts.
func TestNoSecretInTheEnvironment(t *testing.T) {
	t.Setenv("_secret", "exported")
	t.Setenv("mark", "exported")
	eachShell(t, func(t *testing.T, h *shellHost) {
		events, err := run1(t, h, Script{Text: `env | grep -E '^(_secret|mark)=' || echo none`, Secret: secret.New("hush")})
		if err != nil || !slices.Contains(events, "0 said none") {
			t.Errorf("events %q, error %v", events, err)
		}
	})
}

// A user gets an environment like that of a login, and nothing of root's.
func TestEnvironmentOfAUser(t *testing.T) {
	for _, name := range []string{"SSH_AUTH_SOCK", "SUDO_USER", "DOCKER_HOST", "GIT_DIR", "BASH_ENV", "ENV"} {
		t.Setenv(name, "/nowhere")
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	eachShell(t, func(t *testing.T, h *shellHost) {
		seen, err := Look(t.Context(), Target{Name: "h", Host: h}, []Step{fixed{name: "a", probe: Script{User: me.Username, Text: `
env | cut -d = -f 1 | grep -vxE '_|PWD|OLDPWD|SHLVL' | sort | facts name`}}})
		if want := []string{"HOME", "LC_ALL", "LOGNAME", "PATH", "SHELL", "USER"}; err != nil || !slices.Equal(seen.Of("a")["name"], want) {
			t.Errorf("the environment has %q, want %q (%v)", seen.Of("a")["name"], want, err)
		}
	})
}

func TestNULIsRefused(t *testing.T) {
	if _, err := quote("a\x00b"); err == nil {
		t.Error("a NUL byte is no error")
	}
	jobs := []job{{script: Script{Text: ":", Secret: secret.New("hush\x00")}}}
	if _, err := newProgram(jobs); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("got %v", err)
	}
}

// A text that two jobs share is sent once.
func TestProgramsShareTexts(t *testing.T) {
	jobs := []job{{script: Script{Text: "echo the very same", Args: []string{"1"}}}, {script: Script{Text: "echo the very same", Args: []string{"2"}}}}
	p, err := newProgram(jobs)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(p.text, []byte("the very same")); n != 1 {
		t.Errorf("the text is there %d times", n)
	}
}
