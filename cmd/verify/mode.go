package cmd

import "provision/inventory"

// A mode is how verify looks. It is decided once, before anything is read,
// connected to or looked at.
type mode struct {
	as    rights
	key   keySource
	file  string // the one of keyInFile, and
	from  string // what has named it
	token bool   // GitLab is asked, with the token of the inventory
	scope string // only deployments of this environment, if there are any; "": all

	// unasked says that nobody has asked for the rights of an admin: there is
	// nothing else to look with.
	unasked bool
}

// rights are those that hosts are looked at with.
type rights string

const (
	asCI    rights = "ci"
	asAdmin rights = "admin"
)

// A keySource is where the CI key comes from.
type keySource string

const (
	noKey       keySource = "none" // an admin needs none
	keyInFile   keySource = "file"
	keyInGitLab keySource = "GitLab"
)

// A setting is what a mode depends on: flags, the environment, and whether
// somebody is at a terminal.
type setting struct {
	as      rights // --as
	key     string // --key
	limited bool   // there is a --limit

	sshAuth     string // $SSH_AUTH
	environment string // $CI_ENVIRONMENT_NAME
	token       bool   // the token of the inventory is there
	terminal    bool
}

// modeOf decides how to look.
func modeOf(s setting) (mode, error) {
	m := mode{as: s.as, key: noKey, token: s.token}
	if m.as == asCI {
		switch {
		case s.key != "":
			m.key, m.file, m.from = keyInFile, s.key, "--key"
		case s.sshAuth != "":
			m.key, m.file, m.from = keyInFile, s.sshAuth, "$SSH_AUTH"
		case s.token:
			m.key = keyInGitLab
		case s.terminal:
			m.as, m.unasked = asAdmin, true
		default:
			return mode{}, usagef("there is no deploy key to verify with\nhint: give --key FILE, or run in a job that has the variable SSH_AUTH, or set the token of GitLab, or use --as admin")
		}
	}
	if m.as == asCI && !s.limited {
		m.scope = s.environment
	}
	return m, nil
}

// hasToken tells whether a token is there to be read. A file or a command that
// is named and gives none is an error of its own.
func hasToken(token inventory.Secret, getenv func(string) string) bool {
	return token.Env == "" || getenv(token.Env) != ""
}
