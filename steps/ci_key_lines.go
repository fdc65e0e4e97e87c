package steps

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"provision/provision"
)

func (s ciKey) comment() string { return keyMark + s.ci.deployment }

// line returns the line of authorized_keys for a public half "TYPE BASE64".
func (s ciKey) line(public string) (string, error) {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(public))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(`restrict,%s%s %s" %s %s`, opensGate, s.ci.deployment, ssh.FingerprintSHA256(key), public, s.comment()), nil
}

// standing tells whether a line is the first one for its key and the only one
// that has it, and whether there are lines of other keys for this deployment.
// sshd(8) takes the first line that has the key, and skips one whose options it
// cannot read: another line with the key is a way in.
func (s ciKey) standing(f provision.Facts, want, public string) (first, others bool) {
	for _, line := range f["line"] {
		name := nameOf(line)
		namesakes := name == s.ci.deployment && f.Get("namesake") != "" // it will have another name
		mine := name == s.ci.deployment && !namesakes
		if name != s.ci.deployment && f.Has("was", name) {
			mine = true
			if s.renaming(f) {
				line = strings.Replace(strings.TrimSuffix(line, name)+s.ci.deployment, opensGate+name+" ", opensGate+s.ci.deployment+" ", 1)
			}
		}
		switch {
		case line == want && !first && !namesakes:
			first = true
		case hasKey(line, public):
			return false, true
		case mine:
			others = true
		}
	}
	return first, others
}

// renaming tells whether the host knows the deployment by another name, which it is
// called no longer when the key is looked after: see names.
func (s ciKey) renaming(f provision.Facts) bool {
	known := f.Get("known")
	return known != "" && known != s.ci.deployment
}

// names are those by which lines are of this deployment.
func (s ciKey) names(f provision.Facts) []string {
	if s.renaming(f) {
		return []string{s.ci.deployment}
	}
	return append([]string{s.ci.deployment}, f["was"]...)
}

// named tells whether a line is one of this deployment, for whatever key.
func (s ciKey) named(f provision.Facts, line string) bool {
	return slices.Contains(s.names(f), nameOf(line))
}

// nameOf returns the name of the deployment that a line of ours is of; "" for others.
func nameOf(line string) string {
	words := wordsOf(line)
	if len(words) == 0 || !strings.HasPrefix(words[len(words)-1], keyMark) {
		return ""
	}
	return strings.TrimPrefix(words[len(words)-1], keyMark)
}
