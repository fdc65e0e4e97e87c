package steps

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"provision/provision"
	"provision/provision/hint"
	"provision/templates"
)

// override wants a compose.override.yaml that says what is special about one
// deployment.
type override struct {
	deployment, user, directory string
	source, text                string
	compose                     []string // the files that it comes behind; none: those that Compose finds
}

func overrideOf(t target) override {
	d := t.deployment
	s := override{deployment: d.Name, user: d.User, directory: d.Directory, compose: d.Compose}
	if d.Override != nil {
		s.source, s.text = d.Override.Path, d.Override.Text
	}
	return s
}

func (s override) wanted() bool { return s.source != "" }

func (s override) Name() string { return "override " + s.deployment }

func (s override) Scope() provision.Scope {
	return provision.Scope{User: s.user, Deployment: s.deployment}
}

func (s override) file() string { return s.directory + "/compose.override.yaml" }

func (s override) digest() string { return overrideDigest(s.text) }

func overrideDigest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// The text is reported only where it differs, for the plan to show how.
func (s override) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{User: s.user, Args: []string{s.file(), s.digest()}, Text: `
[ -e "$1" ] || return 0
if ! [ -f "$1" ] || ! [ -r "$1" ]; then
	fact unreadable yes
	return 0
fi
digest=$(sha256sum <"$1" | cut -c 1-64)
fact digest "$digest"
fact wrote "$(git -C "${1%/*}" config --local --get provision.override)"
[ "$digest" = "$2" ] || head -c 65536 "$1" | facts line
`}}
}

func (s override) Plan(f provision.Facts) ([]provision.Change, error) {
	home := "~" + s.user + "/" + s.file()
	if f.Get("unreadable") != "" {
		return nil, hint.Add(fmt.Errorf("%s is there, but is no file that %s can read", home, s.user), "move it away")
	}
	switch f.Get("digest") {
	case s.digest():
		return nil, nil
	case "":
		return []provision.Change{{
			Verb: provision.Write, Object: home, Remark: "(for the next deploy)",
			Detail: udiff.Unified("/dev/null", s.source, "", s.text),
			Do:     s.write(),
		}}, nil
	}
	before := strings.Join(f["line"], "\n") + "\n"
	remark := "(for the next deploy; the edited file is kept as a backup)"
	if f.Get("digest") == f.Get("wrote") {
		remark = "(for the next deploy)"
	}
	return []provision.Change{{
		Verb: provision.Update, Object: home, Remark: remark,
		Detail: udiff.Unified(home, s.source, before, s.text),
		Do:     s.write(),
	}}, nil
}

func (s override) write() provision.Script {
	return provision.Script{User: s.user, Args: append([]string{s.file(), s.text, s.digest()}, s.compose...), Text: templates.Override}
}

// removeOverride removes the file from the clone $1, and what is noted of it.
const removeOverride = `
rm -f "$1/compose.override.yaml"
git -C "$1" config --unset provision.override
git -C "$1" config --get-regexp '^provision[.]' >/dev/null || git -C "$1" config --remove-section provision 2>/dev/null || :
`
