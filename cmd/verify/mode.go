package verify

import (
	"provision/cmd/fleet"
	"provision/cmd/usage"
	"provision/inventory"
	"provision/provision/hint"
)

// A Mode is how verify looks. It is decided once, before anything is read,
// connected to or looked at.
type Mode struct {
	As     Rights
	Key    KeySource
	File   string // the one of KeyInFile, and
	From   string // what has named it
	Token  bool   // GitLab is asked, with the token of the inventory
	Strict bool   // a note is drift
	Page   bool   // a page is written, which tells what runs
	Left   bool   // GitLab is asked what hosts have left there that the inventory does not name
	Scope  string // only deployments of this environment, if there are any; "": all

	// Unasked says that nobody has asked for the rights of an admin: there is
	// nothing else to look with.
	Unasked bool
}

// Rights are those that hosts are looked at with.
type Rights string

const (
	CI    Rights = "ci"
	Admin Rights = "admin"
)

// A KeySource is where the CI key comes from.
type KeySource string

const (
	NoKey       KeySource = "none" // an admin needs none
	KeyInFile   KeySource = "file"
	KeyInGitLab KeySource = "GitLab"
)

// A Setting is what a [Mode] depends on: flags, the environment, and whether
// somebody is at a terminal.
type Setting struct {
	As      Rights // --as
	Key     string // --key
	Limited bool   // there is a --limit
	Strict  bool   // --strict
	Page    bool   // --html
	Shard   Shard  // --shard

	SSHAuth     string // $SSH_AUTH
	Environment string // $CI_ENVIRONMENT_NAME
	Token       bool   // the token of the inventory is there
	Terminal    bool
}

// ModeOf decides how to look.
func ModeOf(s Setting) (Mode, error) {
	m := Mode{As: s.As, Key: NoKey, Token: s.Token, Strict: s.Strict, Page: s.Page}
	m.Left = s.Token && !s.Limited && s.Shard.K <= 1
	if m.As == CI {
		switch {
		case s.Key != "":
			m.Key, m.File, m.From = KeyInFile, s.Key, "--key"
		case s.SSHAuth != "":
			m.Key, m.File, m.From = KeyInFile, s.SSHAuth, "$SSH_AUTH"
		case s.Token:
			m.Key = KeyInGitLab
		case s.Terminal:
			m.As, m.Unasked = Admin, true
		default:
			return Mode{}, hint.Add(usage.Errorf("there is no CI key to verify with"), "give --key FILE, or run in a job that has the variable SSH_AUTH, or set the token of GitLab, or use --as admin")
		}
	}
	if m.As == CI && !s.Limited {
		m.Scope = s.Environment
	}
	return m, nil
}

// HasToken tells whether a token is there to be read. A file or a command that
// is named and gives none is an error of its own.
func HasToken(token inventory.Secret, getenv func(string) string) bool {
	return token.Env == "" || getenv(token.Env) != ""
}

// Of returns the parts that a mode is about: a job of CI has the key of its
// environment and no other, so of those with deployments of it only these.
func (m Mode) Of(parts []fleet.Part) []fleet.Part {
	if m.Scope == "" {
		return parts
	}
	var of []*inventory.Deployment
	for _, p := range parts {
		for _, d := range p.Deployments {
			if d.Scope == m.Scope {
				of = append(of, d)
			}
		}
	}
	if len(of) == 0 {
		return parts
	}
	return fleet.PartsOf(of)
}

// needs says of so many steps what it takes to see what this mode does not show.
func (m Mode) needs(steps int) string {
	what := " admin"
	if m.As == Admin {
		what = " token"
	}
	if steps == 1 {
		return "needs" + what
	}
	return "need" + what
}

// way is the one to hosts: CI's where there is nothing but its key.
func (m Mode) way() fleet.Way {
	if m.Token {
		return fleet.WayOfAdmin
	}
	return fleet.WayOfCI
}

// expects is what can be asked of GitLab in this mode.
func (m Mode) expects() expectation {
	if m.Token {
		return allOfGitLab
	}
	return nothingOfGitLab
}
