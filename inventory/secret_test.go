package inventory

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"provision/provision/secret"
)

func TestSecretRead(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // past the umask
			t.Fatal(err)
		}
		return path
	}
	shell := func(script string) Secret { return Secret{Command: []string{"sh", "-c", script}, dir: dir} }
	t.Setenv("PROVISION_TEST_SECRET", canary)
	t.Setenv("PROVISION_TEST_EMPTY", "")

	for _, test := range []struct {
		name    string
		secret  Secret
		wantErr string // "" if it reads canary
	}{
		{"env", Secret{Env: "PROVISION_TEST_SECRET"}, ""},
		{"env that is not set", Secret{Env: "PROVISION_TEST_UNSET"}, "the environment variable PROVISION_TEST_UNSET is not set; export it, or name another source in the inventory"},
		{"env that is empty", Secret{Env: "PROVISION_TEST_EMPTY"}, "the environment variable PROVISION_TEST_EMPTY is empty; export it, or name another source in the inventory"},
		{"file", Secret{File: file("plain", canary, 0o600)}, ""},
		{"file with a newline", Secret{File: file("newline", canary+"\n", 0o400)}, ""},
		{"file from another system", Secret{File: file("crlf", canary+"\r\n", 0o600)}, ""},
		{"file for a group", Secret{File: file("group", canary, 0o640)}, ""},
		{"file for everybody", Secret{File: file("everybody", canary, 0o644)}, `file "DIR/everybody": everybody on this machine may read it; run chmod o= on it, and replace the secret if others were here`},
		{"file with two newlines", Secret{File: file("newlines", canary+"\n\n", 0o600)}, `file "DIR/newlines": gives several lines; a token or password is one`},
		{"file with a control character", Secret{File: file("control", canary+"\x00", 0o600)}, `file "DIR/control": holds control characters; a token or password has none`},
		{"file that is empty", Secret{File: file("empty", "\n", 0o600)}, `file "DIR/empty": is empty`},
		{"file that is large", Secret{File: file("large", strings.Repeat(canary, maxSecret), 0o600)}, `file "DIR/large": is larger than 64 KiB`},
		{"file that is missing", Secret{File: filepath.Join(dir, "missing")}, `file "DIR/missing": there is no such file`},
		{"directory", Secret{File: dir}, `file "DIR": is not a regular file`},
		{"command", shell("echo " + canary), ""},
		{"command beside the inventory", shell("cat plain"), ""},
		{"command has no input", shell("cat; echo " + canary), ""},
		{"command without a shell", Secret{Command: []string{"printf", "%s%s", "CAN", "ARY"}}, ""},
		{"command that fails", shell("echo " + canary + "; echo " + canary + " >&2; exit 3"), `command "sh": exit status 3; run it by hand to see why`},
		{"command that prints too much", shell("yes " + canary), `command "sh": gives more than 64 KiB, which is no token or password`},
		{"command that prints nothing", shell(":"), `command "sh": is empty`},
		{"command that is missing", Secret{Command: []string{"provision-test-missing"}}, `command "provision-test-missing": cannot run: exec: "provision-test-missing": executable file not found in $PATH`},
		{"nothing", Secret{}, "the inventory names no secret here"},
	} {
		t.Run(test.name, func(t *testing.T) {
			value, err := test.secret.Read(t.Context())
			if test.wantErr == "" {
				if err != nil {
					t.Fatal(err)
				}
				if text, err := value.Reveal(); err != nil || text != canary {
					t.Errorf("reads %q, %v", text, err)
				}
				return
			}
			if err == nil {
				t.Fatal("no error")
			}
			if got := strings.ReplaceAll(err.Error(), dir, "DIR"); got != test.wantErr {
				t.Errorf("error is\n%s, not\n%s", got, test.wantErr)
			}
			if !value.IsZero() {
				t.Error("there is a value beside the error")
			}
		})
	}
}

// A command that never ends, ends with its context, even if a child of its own
// holds on to the output.
func TestSecretReadCancelled(t *testing.T) {
	dir := t.TempDir()
	started := filepath.Join(dir, "started")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := syscall.Mkfifo(started, 0o600); err != nil {
		t.Fatal(err)
	}
	child := make(chan string, 1)
	go func() {
		// Opening the pipe waits for the command to open it.
		pid, err := os.ReadFile(started)
		if err != nil {
			t.Error(err)
		}
		child <- strings.TrimSpace(string(pid))
		cancel()
	}()
	s := Secret{Command: []string{"sh", "-c", `sleep 600 & echo $! > "$1"; wait`, "sh", started}, dir: dir}
	if _, err := s.Read(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	pid, err := strconv.Atoi(<-child)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the child is gone already, so that this proves nothing: %v", err)
	}
}

// What stands in the file leads to where it should.
func TestSecretPlaces(t *testing.T) {
	t.Setenv("HOME", "/home/admin")
	for text, want := range map[string]string{
		`{ env = "TOKEN" }`:                `the environment variable TOKEN`,
		`{ file = "/etc/token" }`:          `file "/etc/token"`,
		`{ file = "~/token" }`:             `file "/home/admin/token"`,
		`{ file = "token" }`:               `file "DIR/token"`,
		`{ command = ["pass", "pass a"] }`: `command "pass" in DIR: [pass pass a]`,
	} {
		dir := t.TempDir()
		inv, err := Parse("inventory.toml", []byte(with(t, "[registry]\n", "token = "+text+"\n[registry]\n")), dir)
		if err != nil {
			t.Fatal(err)
		}
		token := inv.GitLab.Token
		got := token.String()
		if len(token.Command) > 0 {
			got += fmt.Sprintf(" in %s: %v", token.dir, token.Command)
		}
		if got = strings.ReplaceAll(got, dir, "DIR"); got != want {
			t.Errorf("%s is %s, not %s", text, got, want)
		}
		if token.IsZero() {
			t.Errorf("%s is zero", text)
		}
	}
}

// Variables may have several lines, and files may have anything.
func TestSecretReadMore(t *testing.T) {
	read := func(text string, fetch func(Secret, context.Context) (secret.Value, error)) string {
		t.Helper()
		file := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		value, err := fetch(Secret{File: file}, t.Context())
		if err != nil {
			return strings.ReplaceAll(err.Error(), strconv.Quote(file), "F")
		}
		got, _ := value.Reveal()
		return "= " + got
	}
	for _, tt := range []struct{ text, asText, asAll string }{
		{"one\n", "= one", "= one\n"},
		{"one\r\n", "= one", "= one\r\n"},
		{"a\tb\nc\n\n", "= a\tb\nc\n", "= a\tb\nc\n\n"},
		{"\x00\xff", "file F: is not UTF-8", "= \x00\xff"},
		{"a\x00", "file F: holds control characters; a variable has none", "= a\x00"},
		{"\n", "file F: is empty", "= \n"},
		{"", "file F: is empty", "file F: is empty"},
	} {
		if got := read(tt.text, Secret.ReadText); got != tt.asText {
			t.Errorf("as text %q is %q, want %q", tt.text, got, tt.asText)
		}
		if got := read(tt.text, Secret.ReadAll); got != tt.asAll {
			t.Errorf("as a file %q is %q, want %q", tt.text, got, tt.asAll)
		}
	}
}
