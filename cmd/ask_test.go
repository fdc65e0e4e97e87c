package cmd

import (
	"regexp"
	"strings"
	"sync"
	"testing"

	"provision/provision/secret"
)

// A sayer types at a terminal what the questions of a program ask for: what
// answers has for the end of a question, and a line without anything else.
type sayer struct {
	*typist
	answers map[string]string

	mu    sync.Mutex
	asked []string
}

var sudoQuestion = regexp.MustCompile(`(password of sudo on .*: |\? \[y/N\] )$`)

func (s *sayer) Write(text []byte) (int, error) {
	question := sudoQuestion.FindString(string(text))
	if question == "" {
		return len(text), nil
	}
	s.mu.Lock()
	s.asked = append(s.asked, string(text))
	s.mu.Unlock()
	for end, answer := range s.answers {
		if strings.Contains(string(text), end) {
			return len(text), s.Type(answer + "\n")
		}
	}
	return len(text), s.Type("\n")
}

// A password of sudo that was typed goes to the host that it was typed for, and
// to another one only where somebody says so: for that host, or once for all.
func TestSudoPasswords(t *testing.T) {
	for _, test := range []struct {
		name    string
		sudoers int
		answers map[string]string
		hosts   []string
		want    []string // what each host gets
		asked   []string
	}{
		{"each its own", 3, map[string]string{"on web1": "one", "on web2": "two", "on web3": "three", "every host": "n"},
			[]string{"web1", "web2", "web3", "web2"}, []string{"one", "two", "three", "two"},
			[]string{"password of sudo on web1: ", "send it to every host of this run that asks for one? [y/N] ",
				"password of sudo on web2 (return: the one typed for web1): ", "password of sudo on web3 (return: the one typed for web2): "}},
		{"one for all", 3, map[string]string{"on web1": "one", "every host": "yes"},
			[]string{"web1", "web2", "web3"}, []string{"one", "one", "one"},
			[]string{"password of sudo on web1: ", "send it to every host of this run that asks for one? [y/N] "}},
		{"one again", 3, map[string]string{"on web1": "one", "on web3": "three"},
			[]string{"web1", "web2", "web3"}, []string{"one", "one", "three"},
			[]string{"password of sudo on web1: ", "send it to every host of this run that asks for one? [y/N] ",
				"password of sudo on web2 (return: the one typed for web1): ", "password of sudo on web3 (return: the one typed for web1): "}},
		{"one host", 1, map[string]string{"on web1": "one"},
			[]string{"web1", "web1"}, []string{"one", "one"}, []string{"password of sudo on web1: "}},
		{"no password", 1, nil, []string{"web1"}, []string{""}, []string{"password of sudo on web1: "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &sayer{typist: newTypist(t), answers: test.answers}
			ask := newAsker(Env{Stdin: s.File, Stderr: s})
			ask.sudoers = test.sudoers
			for i, host := range test.hosts {
				if got := sudoOf(t, ask, host); got != test.want[i] {
					t.Errorf("%s gets %q, want %q", host, got, test.want[i])
				}
			}
			if got, want := strings.Join(s.asked, "\n"), strings.Join(test.asked, "\n"); got != want {
				t.Errorf("asked\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// Hosts that ask at the same time are asked about one after another, and an
// answer for all is one for those that wait, too.
func TestSudoPasswordsAtOnce(t *testing.T) {
	for answer, questions := range map[string]int{"y": 2, "n": 1 + 5} {
		s := &sayer{typist: newTypist(t), answers: map[string]string{"every host": answer, "password": "one"}}
		ask := newAsker(Env{Stdin: s.File, Stderr: s})
		ask.sudoers = 5
		var all sync.WaitGroup
		for _, host := range []string{"web1", "web2", "web3", "web4", "web5"} {
			all.Go(func() {
				if got := sudoOf(t, ask, host); got != "one" {
					t.Errorf("%s gets %q", host, got)
				}
			})
		}
		all.Wait()
		if len(s.asked) != questions {
			t.Errorf("answer %s: asked %q", answer, s.asked)
		}
	}
}

func sudoOf(t *testing.T, ask *asker, host string) string {
	t.Helper()
	v, err := ask.sudo(t.Context(), host)
	if err != nil {
		t.Error(err)
		return ""
	}
	return revealed(t, v)
}

func revealed(t *testing.T, v secret.Value) string {
	t.Helper()
	text, err := v.Reveal()
	if err != nil {
		t.Error(err)
	}
	return text
}
