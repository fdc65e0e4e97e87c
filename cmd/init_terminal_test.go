package cmd

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"provision/e2e/screen"
	"provision/inventory"
)

// A typist answers the questions of a program at a terminal. Who has no answer
// ends the input.
type typist struct {
	*screen.Terminal
	answers []string
	read    strings.Builder // what was printed and typed
}

var questionEnd = regexp.MustCompile(`[?)\]] $`)

// Write implements [io.Writer] for the program.
func (p *typist) Write(text []byte) (int, error) {
	p.read.Write(text)
	if !questionEnd.Match(text) {
		return len(text), nil
	}
	typed := "\x04"
	if len(p.answers) > 0 {
		typed, p.answers = p.answers[0], p.answers[1:]
	}
	if strings.Trim(typed, "\x03\x04") != "" || typed == "" {
		typed += "\n"
		p.read.WriteString(typed)
	}
	return len(text), p.Type(typed)
}

func newTypist(t *testing.T, answers ...string) *typist {
	t.Helper()
	p := &typist{Terminal: terminal(t, 80, 24), answers: answers}
	t.Cleanup(p.Close)
	return p
}

// order tells whether texts stand in this order in what was read.
func (p *typist) order(t *testing.T, texts ...string) {
	t.Helper()
	rest := p.read.String()
	for _, text := range texts {
		_, after, found := strings.Cut(rest, text)
		if !found {
			t.Errorf("%q is missing, or not in its place:\n%s", text, &p.read)
			return
		}
		rest = after
	}
}

// How init asks.
const (
	whereIsGitLab = "where is GitLab? [https://gitlab.com] "
	whichProject  = "which project has the compose.yaml? (group/project) "
	whichHost     = "which host is it deployed on? ([user@]address[:port], or a name from ~/.ssh/config) "
	whichScope    = "which environment of GitLab is that? [production] "
	whichCA       = "which file has the certificate of that CA? "
	whichRegistry = "which registry has the images? (what their names begin with) [registry.127.0.0.1] "
	areTheyRight  = "is the fingerprint correct? [y/N] "
	gitShows      = "the git server 127.0.0.1 shows:\n"
	hostShows     = "the host 127.0.0.1 shows:\n"
)

// noSuchName is one that no resolver is asked for: a part of it is too long.
var noSuchName = strings.Repeat("x", 64) + ".example.com"

func TestInitAsks(t *testing.T) {
	web := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate
	t.Cleanup(web.Close)
	b := beginInit(t, web.TLS, "registry.example.com")
	bare := strings.TrimPrefix(b.gitlab.URL(), "https://")
	certificate := func(name string, der []byte) string {
		return b.write(t, name, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	}
	ca := certificate("ca.pem", web.Certificate().Raw)

	// With these flags and answers.
	initialise := func(t *testing.T, flags []string, answers ...string) (p *typist, code int, file string) {
		t.Helper()
		file = b.file()
		p = newTypist(t, answers...)
		code = Run(t.Context(), Env{Args: append([]string{"provision", "init", "-F", b.sshConfig, file}, flags...), Stdin: p.File, Stdout: p, Stderr: p})
		if len(p.answers) > 0 {
			t.Errorf("not asked for: %q\n%s", p.answers, &p.read)
		}
		if code != 0 {
			unwritten(t, file)
		}
		return p, code, file
	}
	load := func(t *testing.T, p *typist, code int, file string) *inventory.Inventory {
		t.Helper()
		inv, err := inventory.Load(file)
		if code != 0 || err != nil {
			t.Fatalf("exit code %d, %v\n%s", code, err, &p.read)
		}
		return inv
	}
	host := "admin@" + b.host

	t.Run("each answer is looked at, and asked for again", func(t *testing.T) {
		key := b.write(t, "key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
		p, code, file := initialise(t, nil, "git example", noSuchName, bare, "nothing.pem", b.sshConfig, key, ca,
			"frobnicator", "transmogrify/frobnicater", "https://"+bare+"/transmogrify/frobnicator/-/tree/main",
			"", "admin@"+noSuchName, "a b", host, "/", "staging", "what", "y", "yes")
		inv := load(t, p, code, file)
		if inv.GitLab.URL != "https://"+bare || inv.Deployments[0].Project != b.project || net.JoinHostPort(inv.Hosts[0].Address, strconv.Itoa(inv.Hosts[0].Port)) != b.host || inv.Deployments[0].Scope != "staging/"+inv.Hosts[0].Name || len(inv.GitLab.CA) == 0 {
			t.Errorf("the inventory is about %s %s %s %s", inv.GitLab.URL, inv.Deployments[0].Project, inv.Hosts[0].Address, inv.Deployments[0].Scope)
		}
		p.order(t, whereIsGitLab+"git example\nthat is no URL of a GitLab\n  hint: ",
			whereIsGitLab+noSuchName+"\nGitLab: there is no host "+noSuchName+" (no such host)",
			whereIsGitLab+bare+"\nhttps://"+bare+" shows a certificate of a CA that this machine does not trust\n",
			whichCA+"nothing.pem\nfile \"nothing.pem\": there is no such file\n",
			whichCA+b.sshConfig+"\n", "holds no certificate\n",
			whichCA+key+"\n", "holds something else than certificates\n",
			whichCA+ca+"\n"+whichProject+"frobnicator\n\"frobnicator\" has no namespace\n",
			whichProject+"transmogrify/frobnicater\nproject transmogrify/frobnicater: ", "\n  hint: there is a project transmogrify/frobnicator\n",
			whichProject, "\nfound project transmogrify/frobnicator in group transmogrify\n",
			whichHost+"\nan answer is required\n",
			whichHost+"admin@"+noSuchName+"\nthe host: connect to "+noSuchName+":22: there is no host of this name (no such host)\n  hint: check the address",
			whichHost+"a b\n\"a b\" is no address\n",
			whichHost+host+"\n"+whichScope+"/\n\"/\" is no environment of GitLab\n",
			whichScope+"staging\n"+gitShows, areTheyRight+"what\nanswer y or n\n"+areTheyRight+"y\n"+hostShows, areTheyRight+"yes\n", "wrote ")
	})
	t.Run("another GitLab", func(t *testing.T) {
		p, code, file := initialise(t, nil, web.URL, ca, noSuchName, bare, ca, b.project, host, "", "y", "y")
		load(t, p, code, file)
		p.order(t, whichCA+ca+"\nGitLab: not found", whereIsGitLab+noSuchName+"\n", whereIsGitLab+bare+"\n", whichCA)
	})
	t.Run("another CA", func(t *testing.T) {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
		der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
		if err != nil {
			t.Fatal(err)
		}
		another := certificate("another.pem", der)
		p, _, _ := initialise(t, nil, bare, another, ca)
		flag, code, _ := initialise(t, []string{"--ca-file", another}, bare)
		if flag.order(t, "certificate signed by unknown authority"); code != 1 || strings.Count(flag.read.String(), "? ") != 1 {
			t.Errorf("exit code %d\n%s", code, &flag.read)
		}
		p.order(t, whichCA+another+"\nhttps://"+bare+" shows a certificate of another CA than that\n", whichCA+ca+"\n"+whichProject)
	})
	t.Run("flags", func(t *testing.T) {
		p, code, file := initialise(t, []string{"--gitlab", bare, "--ca-file", ca, "--host", host}, b.project, "", "y", "y")
		if inv := load(t, p, code, file); inv.GitLab.URL != "https://"+bare {
			t.Errorf("GitLab is %s", inv.GitLab.URL)
		}
		for _, test := range []struct {
			flag, value string
			code        int
			says        string
		}{
			{"gitlab", "git example", 2, "--gitlab: that is no URL of a GitLab\n"},
			{"gitlab", noSuchName, 1, "there is no host " + noSuchName},
			{"ca-file", "nothing.pem", 2, "--ca-file: file \"nothing.pem\": there is no such file\n"},
			{"project", "frobnicator", 2, "--project: \"frobnicator\" has no namespace\n"},
			{"project", "transmogrify/frobnicater", 1, "there is a project transmogrify/frobnicator\n"},
			{"host", "a b", 2, "--host: \"a b\" is no address\n"},
			{"host", noSuchName, 1, "the host: connect to " + noSuchName + ":22: there is no host of this name"},
			{"environment", "/", 2, "--environment: \"/\" is no environment of GitLab\n"},
			{"registry", "a/b", 2, "--registry: that is more than a host\n"},
			{"git-ssh", "git.example.com", 2, "--git-ssh: that is no place of git over SSH\n"},
			{"token-env", b.token, 2, "--token-env: that is no name of an environment variable\n"},
		} {
			flags := []string{"--gitlab", bare, "--ca-file", ca, "--project", b.project, "--host", host, "--" + test.flag, test.value}
			p, code, _ := initialise(t, flags)
			if p.order(t, test.says); code != test.code || strings.Contains(p.read.String(), "? ") || strings.Contains(p.read.String(), b.token) {
				t.Errorf("--%s: exit code %d\n%s", test.flag, code, &p.read)
			}
		}
	})
	t.Run("without a token", func(t *testing.T) {
		t.Setenv("GITLAB_TOKEN", "")
		p, code, file := initialise(t, []string{"--git-ssh", "ssh://git@" + b.git}, bare, b.project, host, "", "a/b", "registry.example.com", "y", "y")
		if inv := load(t, p, code, file); inv.Registry.Host != "registry.example.com" || fmt.Sprintf("127.0.0.1:%d", inv.GitLab.SSH.Port) != b.git {
			t.Errorf("the registry is %s, and git at %v", inv.Registry.Host, inv.GitLab.SSH)
		}
		p.order(t, "GITLAB_TOKEN is not set: the project and your rights there are not checked\n  hint: ", whereIsGitLab+bare+"\n"+whichProject,
			whichRegistry+"a/b\nthat is more than a host\n", whichRegistry+"registry.example.com\n"+gitShows,
			"not checked: the project transmogrify/frobnicator and your rights there: GITLAB_TOKEN is not set\n")

		// Git over SSH is looked for where GitLab is.
		p, _, _ = initialise(t, nil, noSuchName)
		p.order(t, whereIsGitLab+noSuchName+"\nthe git server: connect to "+noSuchName+":22: there is no host of this name (no such host)\n", "--git-ssh says where\n"+whereIsGitLab)

		// Without a terminal.
		var out bytes.Buffer
		code = Run(t.Context(), Env{Args: []string{"provision", "init", "--gitlab", bare, "--project", b.project, "--host", host, "--git-ssh", "ssh://git@" + b.git, "-F", b.sshConfig, b.file()}, Stdout: &out, Stderr: &out})
		if want := "provision: --registry is missing, and GitLab could not be asked: GITLAB_TOKEN is not set\n  hint: --registry registry.127.0.0.1, if"; code != 2 || !strings.HasPrefix(out.String(), want) {
			t.Errorf("exit code %d\n%s", code, &out)
		}
	})
	t.Run("a bad token", func(t *testing.T) {
		t.Setenv("GITLAB_TOKEN", "glpat-not-a-token-of-anybody")
		p, code, _ := initialise(t, []string{"--ca-file", ca}, bare)
		if p.order(t, "GitLab: the token is unknown", "hint: make a new one with the scope api at "); code != 1 || strings.Count(p.read.String(), "? ") != 1 {
			t.Errorf("exit code %d", code)
		}
		t.Setenv("GITLAB_TOKEN", "two\nlines")
		p, code, _ = initialise(t, nil)
		if p.order(t, "GITLAB_TOKEN: gives several lines"); code != 2 {
			t.Errorf("exit code %d", code)
		}
	})
	t.Run("a changed host", func(t *testing.T) {
		b.known(t, b.gitKey)
		defer os.Remove(b.knownHosts)
		p, code, _ := initialise(t, nil, bare, ca, b.project, host)
		if p.order(t, whichHost, hostShows, "none of the keys of 127.0.0.1 is the one in your known_hosts"); code != 1 {
			t.Errorf("exit code %d", code)
		}
	})
	answers := []string{bare, ca, b.project, host, "", "y", "y"}
	t.Run("the keys are not right", func(t *testing.T) {
		for n := 5; n < 7; n++ {
			p, code, _ := initialise(t, nil, append(answers[:n:n], "")...)
			if p.order(t, areTheyRight+"\nprovision: the ", "the key of 127.0.0.1 is not confirmed; no file written\n  hint: ",
				"provision init --gitlab https://"+bare+" --ca-file "+ca+" --project "+b.project+" --host "+host+" --environment production --accept-host-key SHA256:…\n"); code != 1 {
				t.Errorf("exit code %d", code)
			}
		}
	})
	t.Run("the answers end", func(t *testing.T) {
		for n := range answers {
			p, code, _ := initialise(t, nil, answers[:n]...)
			if !strings.Contains(p.read.String(), "; no file written\n") || code != 1 {
				t.Errorf("after %q: exit code %d\n%s", answers[:n], code, &p.read)
			}
		}
	})
	t.Run("no answer is right", func(t *testing.T) {
		p, code, _ := initialise(t, nil, "a b", "a b", "a b", "a b", "a b")
		if p.order(t, "\nprovision: that is no URL of a GitLab\n"); code != 2 || strings.Count(p.read.String(), whereIsGitLab) != 5 {
			t.Errorf("exit code %d\n%s", code, &p.read)
		}
	})
	t.Run("an interrupt", func(t *testing.T) {
		for n := range answers {
			p, file := newTypist(t, append(answers[:n:n], "\x03")...), b.file()
			cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "init", "-F", b.sshConfig, file)
			cmd.Env = append(os.Environ(), programVariable+"=yes")
			cmd.Stdin, cmd.Stdout, cmd.Stderr = p.File, p, p
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true} // of 0, the standard input
			cmd.Run()
			if !strings.HasSuffix(p.read.String(), " \nprovision: interrupted; no file written\n") || cmd.ProcessState.ExitCode() != 1 {
				t.Errorf("after %q: %v\n%s", answers[:n], cmd.ProcessState, &p.read)
			}
			unwritten(t, file)
		}
	})
}
