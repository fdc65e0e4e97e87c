package steps

import (
	"cmp"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"provision/provision"
	"provision/provision/secret"
)

// newPair returns the private half of a key that is made when one of the two
// is first revealed, and what write makes of its public half.
func (s ciKey) newPair(write func(public string) (string, error)) (private, line secret.Value) {
	private = secret.Born(func() (string, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return "", err
		}
		block, err := ssh.MarshalPrivateKey(key, s.comment())
		if err != nil {
			return "", err
		}
		return string(pem.EncodeToMemory(block)), nil
	})
	line = secret.Born(func() (string, error) {
		text, err := private.Reveal()
		if err != nil {
			return "", err
		}
		public, err := publicHalf(text)
		if err != nil {
			return "", err
		}
		return write(public)
	})
	return private, line
}

func (s ciKey) comment() string { return keyMark + s.ci.deployment }

// line returns the line of authorized_keys for a public half "TYPE BASE64".
func (s ciKey) line(public string) (string, error) {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(public))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(`restrict,%s%s %s" %s %s`, opensGate, s.ci.deployment, ssh.FingerprintSHA256(key), public, s.comment()), nil
}

// oldLine is the line for a key that is to go, see [former]. What is behind the key is the
// comment of it, and by its last word the line is one of the deployment.
func (s ciKey) oldLine(public string) (string, error) {
	line, err := s.line(public)
	return strings.TrimSuffix(line, s.comment()) + oldMark + " " + s.comment(), err
}

const oldMark = "old"

// isOld tells whether a line was written by [ciKey.oldLine].
func (s ciKey) isOld(line string) bool { return strings.HasSuffix(line, " "+oldMark+" "+s.comment()) }

// keyIn returns the public half "TYPE BASE64" in a line; "": it cannot be read.
func keyIn(line string) string {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// A homeLine is a line of authorized_keys as it is when the key is looked after: what the host
// knows by another name is renamed by then, see names.
type homeLine struct {
	text string
	mine bool // it is one of this deployment, for whatever key
}

// lines returns the lines of authorized_keys.
func (s ciKey) lines(f provision.Facts) (lines []homeLine) {
	for _, text := range f["line"] {
		switch name := nameOf(text); {
		case name == s.ci.deployment: // of a namesake it will have another name
			lines = append(lines, homeLine{text, f.Get("namesake") == ""})
		case s.was(f, name) && s.renaming(f):
			text = strings.Replace(strings.TrimSuffix(text, name)+s.ci.deployment, opensGate+name+" ", opensGate+s.ci.deployment+" ", 1)
			lines = append(lines, homeLine{text, true})
		default:
			lines = append(lines, homeLine{text, s.was(f, name)})
		}
	}
	return lines
}

// formerly tells whether a former place was that of this deployment: its key is let in for
// this one, or for nobody and it is marked with a name that this one has or had. So it
// stays with what it was for, whatever is called by that name now.
func (s ciKey) formerly(f provision.Facts, p place) bool {
	for _, k := range formerKeys(f) {
		if k.place != p {
			continue
		}
		for _, line := range s.lines(f) {
			if hasKey(line.text, k.public) {
				return line.mine
			}
		}
	}
	name := cmp.Or(f.Get("marked "+p.String()), s.ci.deployment)
	return s.was(f, name) || name == s.ci.deployment && f.Get("namesake") == ""
}

// formerKeys returns the keys of the former places of this deployment.
func (s ciKey) formerKeys(f provision.Facts) []formerKey {
	return slices.DeleteFunc(formerKeys(f), func(k formerKey) bool { return !s.formerly(f, k.place) })
}

// standing tells whether each line that is wanted is the first one for its key and the only
// one that has it, and whether there are lines of other keys for this deployment.
// sshd(8) takes the first line that has the key, and skips one whose options it
// cannot read: another line with the key is a way in.
func (s ciKey) standing(f provision.Facts, want []string) (all, others bool) {
	found := map[string]bool{}
	for _, line := range s.lines(f) {
		switch i := slices.IndexFunc(want, func(w string) bool { return hasKey(line.text, keyIn(w)) }); {
		case i >= 0 && line == homeLine{want[i], true} && !found[line.text]:
			found[line.text] = true
		case i >= 0:
			return false, true
		case line.mine:
			others = true
		}
	}
	return len(found) == len(want), others
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
	return append([]string{s.ci.deployment}, slices.DeleteFunc(slices.Clone(f["was"]), func(name string) bool { return !s.was(f, name) })...)
}

// was tells whether the deployment had a name, and no other one of the user is to have it.
func (s ciKey) was(f provision.Facts, name string) bool {
	return f.Has("was", name) && (name == f.Get("known") || !slices.Contains(s.others, name))
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

// oldLines returns the lines of former keys that stay beside that of the one that CI has.
func (s ciKey) oldLines(f provision.Facts, public string) (lines []string, err error) {
	if s.finish || cameIn(f, cmp.Or(public, s.current(f))) {
		return nil, nil
	}
	held := s.formerKeys(f)
	for _, line := range s.lines(f) {
		key := keyIn(line.text)
		has := slices.ContainsFunc(held, func(k formerKey) bool { return k.public == key })
		switch {
		case !line.mine || key == "" || key == public || slices.Contains(s.retire, key):
			continue
		case !has && (len(held) > 0 || len(s.retire) > 0 || !s.isOld(line.text)): // nobody can give it a successor
			continue
		}
		old, err := s.oldLine(key)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(lines, old) {
			lines = append(lines, old)
		}
	}
	return lines, nil
}

// current returns the public half of the key that CI has; "": it has none.
func (s ciKey) current(f provision.Facts) string {
	for _, owner := range s.ci.owners {
		if public := f.Get("public " + owner.String()); public != "" {
			return public
		}
	}
	return ""
}

// joinLines returns lines that may yet have to be made as one text.
func joinLines(lines []secret.Value) secret.Value {
	return secret.Born(func() (string, error) {
		var texts []string
		for _, line := range lines {
			text, err := line.Reveal()
			if err != nil {
				return "", err
			}
			texts = append(texts, text)
		}
		return strings.Join(texts, "\n"), nil
	})
}
