package steps

import (
	"fmt"
	"slices"
	"strings"

	"provision/provision"
	"provision/provision/hint"
	"provision/provision/secret"
	"provision/provision/shape"
	"provision/provision/visible"
	"provision/templates"
)

// hardenedLogin wants sshd(8) to take the keys of the deploy user from a file of root, and to run
// nothing but the gate for it: then no file of the user decides who gets in. Or it wants
// sshd to know nothing of that.
//
// Whoever looks goes by the file of root: where it is there, the keys are in it. So it comes
// first, and goes last.
type hardenedLogin struct {
	user   string
	wanted bool
	names  []string // of the deployments of the user on the host
}

// keysFolder has the files of keys of users whose login is hardened.
const keysFolder = "/etc/ssh/provision"

func hardenedLoginOf(t target) hardenedLogin {
	s := hardenedLogin{user: t.deployment.User, wanted: t.deployment.HardenedLogin}
	for _, d := range t.ofUser() {
		s.names = append(s.names, d.Name)
	}
	slices.Sort(s.names)
	return s
}

func (s hardenedLogin) Name() string { return "hardened-login " + s.user }

func (s hardenedLogin) Scope() provision.Scope { return provision.Scope{User: s.user} }

func (s hardenedLogin) keys() string { return keysFolder + "/" + s.user }

func (s hardenedLogin) config() string {
	return "/etc/ssh/sshd_config.d/00-provision-" + s.user + ".conf"
}

// sshdLimits are what is said of the login beside where its keys are and what is run for it:
// see sshdRules.
var sshdLimits = []string{
	"AuthorizedKeysCommand none", "TrustedUserCAKeys none", "AuthenticationMethods publickey",
	"DisableForwarding yes", "PermitTTY no", "PermitTunnel no", "PermitUserRC no", "AcceptEnv none", "ChrootDirectory none", "MaxSessions 8",
}

func (s hardenedLogin) text() string {
	lines := append([]string{"AuthorizedKeysFile " + s.keys(), "ForceCommand " + gateFile, "ExposeAuthInfo yes"}, sshdLimits...)
	return "# provision looks after this file.\nMatch User " + s.user + "\n\t" + strings.Join(lines, "\n\t") + "\n"
}

// Probe looks at the two files, at the lines of ours that are still in the home, and whether sshd
// reads the folder that ours is in.
func (s hardenedLogin) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{Args: []string{s.user, s.keys(), s.config()}, Text: `
! [ -f "$3" ] || fact config "$(stat -c '%U %a' "$3") $(sha256sum <"$3" | cut -c 1-64)"
[ -f "$2" ] || ! grep -qsEi '^[[:space:]]*include[[:space:]].*sshd_config[.]d' /etc/ssh/sshd_config || fact includes yes
passwd=$(getent passwd "$1") || return 0
if [ -f "$2" ]; then
	fact keys "$(stat -c '%U %a %g' "$2")"
	fact group "$(id -g "$1")"
	facts line <"$2"
fi
read_as "$1" "$(printf '%s\n' "$passwd" | cut -d : -f 6)/.ssh/authorized_keys" | facts home
`}}
}

// LookAsCI implements [provision.CIStep]: CI sees the file of root, which its user can read.
func (s hardenedLogin) LookAsCI() provision.CIProbe {
	return provision.CIProbe{Script: provision.Script{Args: []string{s.user, s.keys()}, Text: `
fact unseen '` + unseenHardening + `'
if [ -f "$2" ]; then
	fact keys "$(stat -c '%U %a %g' "$2")"
	fact group "$(id -g "$1")"
fi
`}, Facts: shape.Facts{"keys": shape.Row(shape.Name, shape.Mode, shape.Number), "group": shape.Number, "unseen": shape.Words(unseenHardening)}}
}

const unseenHardening = "without rights of an admin: what sshd_config says of the login"

func (s hardenedLogin) Plan(f provision.Facts) ([]provision.Change, error) {
	there := f.Get("keys") != "" || f.Get("config") != ""
	if !s.wanted {
		if !there {
			return nil, nil
		}
		return s.soften(f), nil
	}
	right := f.Get("keys") == "root 640 "+f.Get("group") && (f.Get("unseen") != "" || f.Get("config") == fileFact(s.text(), "644"))
	home := s.ours(f["home"])
	if right && len(home) == 0 {
		return nil, nil
	}
	if f.Get("keys") == "" && f.Get("includes") == "" && f.Get("unseen") == "" {
		return nil, hint.Add(fmt.Errorf("sshd_config does not include /etc/ssh/sshd_config.d, so the login of %s cannot be hardened", s.user),
			"write as its first line: Include /etc/ssh/sshd_config.d/*.conf; before OpenSSH 8.2, write hardened_login = false into the inventory")
	}
	var changes []provision.Change
	if !right {
		added := ""
		if f.Get("keys") == "" {
			added = "new"
			if len(home) > 0 {
				changes = append(changes, provision.Change{Verb: provision.Copy, Object: plural(len(home), "CI key") + " of " + s.user, Remark: "to " + s.keys(),
					Do: authorize(s.user, true, secret.New(strings.Join(home, "\n")), strings.Join(s.names, " "), "keep")})
			}
		}
		remark := "(sshd takes its keys from " + s.keys() + ", and runs the gate alone)"
		if others := s.others(f["home"]); others != "" && f.Get("keys") == "" {
			remark = "(sshd takes its keys from " + s.keys() + ", and runs the gate alone; in its home stay, and let nobody in: " + others + ")"
		}
		changes = append(changes, asRoot(provision.Change{Verb: provision.Set, Object: "login of " + s.user, Remark: remark}, templates.Harden, s.user, s.text(), added))
	}
	if len(home) > 0 {
		changes = append(changes, provision.Change{Verb: provision.Remove, Object: plural(len(home), "CI key") + " from ~" + s.user + "/.ssh/authorized_keys",
			Do: authorize(s.user, false, secret.Value{}, strings.Join(namesIn(home), " "), "none")})
	}
	return changes, nil
}

// soften has sshd take the keys from the home again: they are there before that.
func (s hardenedLogin) soften(f provision.Facts) (changes []provision.Change) {
	if lines := s.ours(f["line"]); len(lines) > 0 {
		changes = append(changes, provision.Change{Verb: provision.Copy, Object: plural(len(lines), "CI key") + " of " + s.user, Remark: "to ~" + s.user + "/.ssh/authorized_keys",
			Do: authorize(s.user, false, secret.New(strings.Join(lines, "\n")), strings.Join(namesIn(lines), " "), "keep")})
	}
	return append(changes, asRoot(provision.Change{Verb: provision.Restore, Object: "login of " + s.user, Remark: "(sshd takes its keys from its home)"}, templates.Harden, s.user, "", ""))
}

// ours returns the lines that open a gate and nothing else.
func (s hardenedLogin) ours(lines []string) (ours []string) {
	for _, line := range lines {
		if (fileLine{line, false}).isRestrictedGate() && nameOf(line) != "" {
			ours = append(ours, line)
		}
	}
	return ours
}

// others names the keys in the home that are not ours.
func (s hardenedLogin) others(lines []string) string {
	var names []string
	for _, line := range lines {
		if name, ok := (fileLine{line, false}).name(); ok && !slices.Contains(s.ours(lines), line) {
			if name == "" {
				name = "a line that cannot be read"
			}
			names = append(names, visible.String(name))
		}
	}
	return strings.Join(shorten(names), ", ")
}

// namesIn returns the names of the deployments that lines of ours are of.
func namesIn(lines []string) (names []string) {
	for _, line := range lines {
		if name := nameOf(line); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// authorize writes lines into the file that sshd takes the keys of a user from: see
// templates/authorize.sh.
func authorize(user string, hardened bool, lines secret.Value, names, others string) provision.Script {
	script := provision.Script{User: user, Args: []string{names, others}, Secret: lines, Text: templates.Authorize}
	if hardened {
		script.User, script.Args = "", append(script.Args, keysFolder+"/"+user, user)
	}
	return script
}

// undo leaves the login to sshd_config, where no other deployment of the user is there and
// nobody else has put a key into our file. Our own are revoked by then.
func (s hardenedLogin) undo(t target) undo {
	probe := s.Probe()
	probe.Script.Text = `
for file in /etc/provision/deployments/*; do
	! grep -qsx "user=$1" "$file" || fact carried "${file##*/}"
done
` + probe.Script.Text
	return undo{s.Name(), probe, func(f provision.Facts) ([]provision.Change, error) {
		switch others := s.others(f["line"]); {
		case f.Get("keys") == "" && f.Get("config") == "", len(t.others(f)) > 0:
			return nil, nil
		case others != "":
			return []provision.Change{provision.Note("%s stays, for %s", s.keys(), others)}, nil
		}
		return []provision.Change{asRoot(provision.Change{Verb: provision.Restore, Object: "login of " + s.user, Remark: "(sshd takes its keys from its home)"}, templates.Harden, s.user, "", "")}, nil
	}}
}
