package cmd

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"provision/cmd/fleet/fleettest"
	"provision/e2e/gitlabtest"
	"provision/e2e/sshtest"
	"provision/inventory"
	"provision/provision/secret"
	"provision/steps"
)

// leaves gives GitLab variables of a deployment on a host that the inventory does not name.
func (f *fleetTest) leaves(host, target string) {
	for key, value := range map[string]string{"SSH_AUTH": "x", "SSH_KNOWN_HOSTS": "x", "SSH_DEPLOY_TARGET": target} {
		f.gitlab.AddVariable("transmogrify", gitlabtest.Variable{
			Key: key, Value: secret.New(value), Scope: "production/" + host, Description: fmt.Sprintf("Set by provision for app on %s.", host),
		})
	}
}

// What is certain goes with a yes, or with --yes. What may be of another inventory goes
// when its name is typed, and by nothing else.
func TestClean(t *testing.T) {
	for _, tt := range []struct {
		name    string
		flags   []string
		answers []string
		carries string // the host of the inventory
		code    int
		left    int // variables
		want    string
	}{
		{"nobody is there", nil, nil, "", exitUsage, 6, "hint: with --yes what is certain is removed"},
		{"--yes", []string{"--yes"}, nil, "", exitMissing, 3, "hint: if it is in no other inventory: provision remove --gone web9 "},
		{"it carries it", []string{"--yes"}, nil, "app deploy-old", exitMissing, 3, "web9 is not in the inventory"},
		{"a yes and no name", nil, []string{"y", ""}, "", exitMissing, 3, "remove what old0 has in GitLab? [y/N]"},
		{"no and a name", nil, []string{"n", "web9"}, "", exitMissing, 3, "To remove what it has in GitLab, type its name"},
		{"yes is no name", nil, []string{"n", "y"}, "", exitMissing, 6, "web9 may be in another inventory"},
		{"a yes and a name", nil, []string{"y", "web9"}, "", exitOK, 0, "3 changes made"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFleet(t, 1, bareHost, "")
			inv, err := inventory.Load(f.file)
			if err != nil {
				t.Fatal(err)
			}
			f.leaves("web9", "ssh://deploy-user@web9.example.com")
			f.leaves("old0", steps.DeployTarget(&inventory.Deployment{User: "deploy-old", Host: inv.Hosts[0]}))
			hosts := &fleettest.Hosts{Program: func(_ string, program []byte) []byte { return sshtest.Bare("carries=" + tt.carries)(program) }}
			var out bytes.Buffer
			env := Env{Args: append(append([]string{"provision", "clean"}, tt.flags...), f.file), Stdout: &out, Stderr: &out, dialer: hosts}
			if len(tt.answers) > 0 {
				term := newTypist(t, tt.answers...)
				env.Stdin, env.Stderr = term.File, teeWriter{&out, term}
			}
			code := Run(t.Context(), env)
			left := len(f.gitlab.Variables("transmogrify"))
			if tt.carries != "" {
				left -= 3 // it keeps them
			}
			if code != tt.code || left != tt.left || !strings.Contains(out.String(), tt.want) {
				t.Errorf("exit code %d, %d variables are left; want %d, %d, %q:\n%s", code, left, tt.code, tt.left, tt.want, &out)
			}
		})
	}
}

func TestCleanNothing(t *testing.T) {
	f := newFleet(t, 1, bareHost, "")
	hosts := &fleettest.Hosts{}
	if code, printed := f.runs(t, hosts, nil, "clean", "--yes"); code != exitOK || len(hosts.Logins()) != 0 || !strings.Contains(printed, "GitLab has nothing that no host of the inventory holds") {
		t.Errorf("exit code %d, %d logins:\n%s", code, len(hosts.Logins()), printed)
	}
}
