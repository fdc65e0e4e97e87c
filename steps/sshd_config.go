package steps

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"provision/provision"
	"provision/provision/hint"
	"provision/provision/shape"
	"provision/provision/visible"
	"provision/templates"
)

// sshdConfig wants an sshd that lets the deploy user in with a key, runs the gate then, and
// nothing else. sshd(8) is asked for all that it would do for this user; what may be said
// there is in the table of sshd_rules.go. The file is the admin's: it is not changed.
type sshdConfig struct {
	user     string
	hardened bool // see hardenedLogin, which sets some options and tells where they are not in force
}

func sshdConfigOf(t target) sshdConfig {
	return sshdConfig{t.deployment.User, t.deployment.HardenedLogin}
}

func (s sshdConfig) Name() string { return "sshd-config " + s.user }

func (s sshdConfig) Scope() provision.Scope { return provision.Scope{User: s.user} }

// homeKeys are the files of keys that are read as the user: see unrestrictedKeys. They are
// those of sshd(8) where sshd_config names none.
const homeKeys = ".ssh/authorized_keys .ssh/authorized_keys2"

func (s sshdConfig) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{Args: []string{s.user, harmlessOptions(), " " + homeKeys + " " + keysFolder + "/" + s.user + " "}, Text: templates.Sshd}}
}

// LookAsCI implements [provision.CIStep]: sshd tells all of it to root alone.
func (s sshdConfig) LookAsCI() provision.CIProbe {
	return provision.CIProbe{
		Script: provision.Script{Text: "fact unseen '" + unseenSSHD + "'\n"},
		Facts:  shape.Facts{"unseen": shape.Words(unseenSSHD)},
	}
}

const unseenSSHD = "without rights of an admin: whom sshd_config lets in, and what it lets them do"

func (s sshdConfig) Plan(f provision.Facts) ([]provision.Change, error) {
	if f.Get("without") != "" {
		return []provision.Change{provision.Note("there is no sshd on this host: what its SSH server lets %s do is not looked at", s.user)}, nil
	}
	if f.Get("failed") != "" {
		return []provision.Change{provision.Drift("sshd -T does not tell what it would do for %s: %s", s.user, visible.String(f.Get("failed"))).
			WithHint("on the host: sshd -T -C user=%s,host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22", s.user)}, nil
	}
	main := optionsOf(f["sshd"])
	if err := s.lets(f, main); err != nil {
		return nil, err
	}
	changes := s.judge(f, main, nil, "")
	if files := main["authorizedkeysfile"]; s.hardened && f.Get("hardened") != "" && !slices.Equal(files, []string{keysFolder + "/" + s.user}) {
		changes = append(changes, provision.Drift("sshd takes the keys of %s from %s, for what says so comes before the file of its hardened login", s.user, visible.String(joinAnd(files))).
			WithHint("on the host: sshd -T -C user=%s,host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22", s.user))
	}
	for i := 1; f.Get(numbered("match", i)) != ""; i++ {
		changes = append(changes, s.judge(f, optionsOf(f[numbered("sshd", i)]), main, f.Get(numbered("match", i)))...)
	}
	for _, block := range f["unjudged"] {
		changes = append(changes, provision.Drift("sshd_config has Match %s, and what it means for %s cannot be told", visible.String(block), s.user).
			WithHint("look at what stands there; a block Match User %s above it comes first", s.user))
	}
	for _, option := range slices.Sorted(maps.Keys(main)) {
		if !sshdKnown(option) {
			changes = append(changes, provision.Note("this sshd has the option %s, of which it is not known what it opens", visible.String(option)))
		}
	}
	for i := 1; f.Get(numbered("file", i)) != ""; i++ {
		file := s.homely(f, f.Get(numbered("file", i)))
		changes = append(changes, unrestricted(file, fileLines(f, numbered("line", i), ""), fileLine.isRestrictedGate)...)
	}
	return changes, nil
}

// judge goes by the table. Of a Match block, it tells what is not so without it.
func (s sshdConfig) judge(f provision.Facts, options, without map[string][]string, block string) (changes []provision.Change) {
	rules := sshdRules
	if f.Get("keytab") != "" {
		rules = append(slices.Clone(rules), gssapiRule)
	}
	about := "for " + s.user
	if block != "" {
		about += " (Match " + visible.String(block) + ")"
	}
	for _, r := range rules {
		var odd []string
		for _, value := range options[strings.ToLower(r.option)] {
			if !r.fine(value) && !s.sets(f, r, value) && !slices.Contains(without[strings.ToLower(r.option)], value) {
				odd = append(odd, visible.String(value))
			}
		}
		if len(odd) == 0 {
			continue
		}
		tell := provision.Drift
		if r.note {
			tell = provision.Note
		}
		changes = append(changes, tell("sshd_config has %s %s %s: %s", r.option, strings.Join(odd, " "), about, strings.ReplaceAll(r.means, "USER", s.user)).
			WithHint("%s", s.mend(r)))
	}
	return changes
}

// sets tells whether a value is that of a hardened login, or is to be replaced by it.
func (s sshdConfig) sets(f provision.Facts, r sshdRule, value string) bool {
	if f.Get("hardened") != "" {
		return r.named("forcecommand") && value == gateFile
	}
	return s.hardened && r.named("forcecommand") || s.hardened && slices.ContainsFunc(sshdLimits, func(line string) bool {
		option, _, _ := strings.Cut(line, " ")
		return r.named(option)
	})
}

// mend tells how a rule is kept to. The first value counts, and a file whose name
// begins with 00 is read first.
func (s sshdConfig) mend(r sshdRule) string {
	text := fmt.Sprintf(`Match User %s\n\t%s\n`, s.user, r.mend)
	if r.global {
		text = r.mend + `\n`
	}
	return fmt.Sprintf("on the host, where sshd_config includes that folder: printf '%s' >>/etc/ssh/sshd_config.d/00-%s.conf && sshd -t && systemctl reload ssh", text, s.user)
}

// numbered is the key of one of several facts that belong together.
func numbered(key string, i int) string { return key + " " + strconv.Itoa(i) }

// optionsOf returns the values of options, by their names in lower case.
func optionsOf(answer []string) map[string][]string {
	options := map[string][]string{}
	for _, line := range answer {
		option, value, _ := strings.Cut(line, " ")
		if value = strings.TrimSpace(value); value != "" {
			options[option] = append(options[option], value)
		}
	}
	return options
}

// homely returns a file as it is written to people.
func (s sshdConfig) homely(f provision.Facts, file string) string {
	if rest, ok := strings.CutPrefix(file, f.Get("home")+"/"); ok && f.Get("home") != "" {
		file = "~" + s.user + "/" + rest
	}
	return visible.String(file)
}

// lets returns an error if sshd would not let the user in with a key from
// ~/.ssh/authorized_keys, see sshd_config(5).
func (s sshdConfig) lets(f provision.Facts, options map[string][]string) error {
	words := func(option string) []string { return strings.Fields(strings.Join(options[option], " ")) }
	home := f.Get("home")
	ours := func(file string) bool {
		file = strings.NewReplacer("%h", home, "%u", s.user).Replace(file)
		return file == ".ssh/authorized_keys" || file == home+"/.ssh/authorized_keys"
	}
	matches := func(option string, names ...string) bool {
		for _, pattern := range words(option) {
			pattern, _, _ = strings.Cut(pattern, "@") // a host part narrows it further; we cannot tell for whom
			if slices.ContainsFunc(names, func(name string) bool { ok, _ := path.Match(pattern, name); return ok }) {
				return true
			}
		}
		return false
	}
	files, users, groups := words("authorizedkeysfile"), words("allowusers"), words("allowgroups")
	switch {
	case slices.Equal(options["pubkeyauthentication"], []string{"no"}):
		return errors.New("sshd_config has PubkeyAuthentication no")
	case len(files) > 0 && !s.hardened && f.Get("hardened") == "" && !slices.ContainsFunc(files, ours):
		return hint.Add(fmt.Errorf("sshd_config has AuthorizedKeysFile %s for %s", strings.Join(files, " "), s.user),
			"add .ssh/authorized_keys to it, for this user at least (Match User %s)", s.user)
	case matches("denyusers", s.user), matches("denygroups", f["group"]...):
		return fmt.Errorf("sshd_config denies %s (DenyUsers or DenyGroups)", s.user)
	case len(users) > 0 && !matches("allowusers", s.user):
		return hint.Add(fmt.Errorf("sshd_config lets in AllowUsers %s only", strings.Join(users, " ")), "add %s there", s.user)
	case len(groups) > 0 && !matches("allowgroups", f["group"]...):
		return hint.Add(fmt.Errorf("sshd_config lets in AllowGroups %s only", strings.Join(groups, " ")), "add %s to one of these groups", s.user)
	}
	return nil
}
