package steps

import (
	"regexp"
	"testing"

	"provision/provision"
)

// The time of the host comes in the form that its sshd takes.
func TestTimeOfTheHost(t *testing.T) {
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		for said, form := range map[string]string{
			"OpenSSH_10.0p1 Debian-7, OpenSSL 3.5.1":                      `^\d{12}Z$`,
			"unknown option -- V\nOpenSSH_9.1p1, OpenSSL 3.0":             `^\d{12}Z$`,
			"unknown option -- V\nOpenSSH_8.4p1 Debian-5, OpenSSL 1.1.1n": `^\d{12}$`,
			"unknown option -- V\nOpenSSH_9.0, LibreSSL":                  `^\d{12}$`,
			"sshd: not found": `^\d{12}$`,
		} {
			s.stub(t, "sshd", "cat >&2 <<'END'\n"+said+"\nEND\nexit 1")
			args, text := limits{days: 90}.look()
			facts := provision.Facts{}
			step := undo{"time", provision.Probe{Script: provision.Script{Args: append([]string{"app", "app"}, args...), Text: text}}, func(f provision.Facts) ([]provision.Change, error) {
				facts = f
				return nil, nil
			}}
			if _, err := s.one(t, step); err != nil {
				t.Fatal(err)
			}
			now, soon, latest := facts.Get("now"), facts.Get("soon"), facts.Get("latest")
			if !regexp.MustCompile(form).MatchString(now) || len(soon) != len(now) || len(latest) != len(now) || now >= soon || soon >= latest {
				t.Errorf("%q: it is %q, soon %q, at the latest %q", said, now, soon, latest)
			}
		}
	})
}
