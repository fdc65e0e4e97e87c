// Package forge says what the steps need of GitLab, in the words of the
// program. The package gitlab below it is the only one that knows the API.
package forge

import (
	"context"
	"errors"
	"time"

	"provision/provision/secret"
)

// A Forge is one GitLab, seen with one token, or without one: see [Unseen]. Who
// needs only a part of it asks for that part.
//
// Every list is complete (all pages) and fetched once per run: a second call
// answers from memory until a change of the same Forge touches that list.
// All methods may be called from many goroutines. An error wraps one of the
// Err values below where one fits, so that callers can use [errors.Is], and
// never holds a secret.
type Forge interface {
	Variables
	DeployKeys
	Tokens
	Projects
	Files
	Branches

	// Self describes the token in use. ErrUnseen means that there is none.
	Self(context.Context) (Token, error)

	// Forget drops what is remembered. It is for whoever learns that somebody
	// else may have changed something meanwhile.
	Forget()
}

// Variables are the CI/CD variables of groups and projects.
type Variables interface {
	// Variables lists the variables of an owner. With an error that wraps
	// ErrUnseen it returns those that can be seen.
	Variables(context.Context, Owner) ([]Variable, error)

	// SetVariable creates a variable, or updates in place the one with the
	// same key and exactly the same scope, whose description stays where
	// none is given. ErrScope means that this GitLab has no scopes for
	// variables of groups; nothing is left behind then.
	SetVariable(context.Context, Owner, Variable) error

	// RemoveVariable removes the variable with this key and exactly this
	// scope. ErrNotFound means that there is none.
	RemoveVariable(ctx context.Context, owner Owner, key, scope string) error
}

// DeployKeys are the keys that clone projects.
type DeployKeys interface {
	// DeployKeys lists the keys of a project, given by its full path.
	DeployKeys(ctx context.Context, project string) ([]DeployKey, error)

	// AddDeployKey adds a public key to a project, to read it or, with
	// CanPush, to write it. A key that the token's user can find in another
	// project is enabled here too. ErrTaken means that somebody else holds
	// the same key where this token cannot see it.
	AddDeployKey(ctx context.Context, project string, key DeployKey) error

	// RenameDeployKey gives a key of a project another title. ErrForbidden means
	// that GitLab has kept the old one: of a key that projects share, only its
	// administrators change that.
	RenameDeployKey(ctx context.Context, project string, id int64, title string) error

	// RemoveDeployKey detaches a key from a project; other projects keep it.
	// ErrNotFound means that the project has no such key.
	RemoveDeployKey(ctx context.Context, project string, id int64) error
}

// Tokens are the access tokens and the deploy tokens of groups and projects.
type Tokens interface {
	// Tokens lists the tokens of one kind, the revoked and the expired too.
	// None has its Value.
	Tokens(context.Context, Owner, TokenKind) ([]Token, error)

	// CreateToken makes a token. The returned one has its id and its Value. A
	// zero Expires means a year from today, or nearly: the most that GitLab allows.
	CreateToken(context.Context, Owner, TokenKind, Token) (Token, error)

	// RevokeToken revokes a token for ever. ErrNotFound means that there is
	// none of this id.
	RevokeToken(ctx context.Context, owner Owner, kind TokenKind, id int64) error
}

// Projects are looked up by their full paths.
type Projects interface {
	// Project looks a project up.
	Project(ctx context.Context, path string) (Project, error)

	// ProtectedBranches lists the names and wildcards of a project's
	// protected branches.
	ProtectedBranches(ctx context.Context, project string) ([]string, error)
}

// A ChangeError tells why GitLab did not change something. Its text says first
// what was to be done.
type ChangeError interface {
	error
	Reason() string // the text without that
}

// What an error of a [Forge] may wrap.
var (
	ErrUnauthorized = errors.New("the token is unknown, revoked or expired")
	ErrForbidden    = errors.New("this token may not do that")
	ErrNotFound     = errors.New("not found, or not visible to this token")
	ErrTaken        = errors.New("has already been taken")
	ErrUnseen       = errors.New("cannot be seen from here")
	ErrScope        = errors.New("this GitLab has no environment scopes for variables of groups")
)

// An Owner is a group or a project, whichever Kind says. It can be compared.
type Owner struct {
	Kind OwnerKind
	Path string // full path: "transmogrify/frobnicator"
}

// OwnerKind tells groups from projects.
type OwnerKind string

// The kinds of an [Owner].
const (
	GroupOwner   OwnerKind = "group"
	ProjectOwner OwnerKind = "project"
)

// String returns "group transmogrify" or "project transmogrify/frobnicator".
func (o Owner) String() string { return string(o.Kind) + " " + o.Path }

// A Project is what the steps need to know of one.
type Project struct {
	ID            int64
	Path          string // full path; differs from the one asked for after a rename
	DefaultBranch string
	SSHURL        string
	Registry      string // where its images are, without their names: a host, with its port; "": it has no registry
	Group         string // full path of the group that it lives in; "": it belongs to a person
	Level         int    // access level of the token's user, as far as GitLab tells; 0: it does not
}

// A Group is what the steps need to know of one.
type Group struct {
	ID   int64
	Path string
}

// A DeployKey is a public key with which a project can be cloned.
type DeployKey struct {
	ID        int64
	Title     string
	Key       string // one authorized_keys line: type, blob, comment
	CanPush   bool
	ExpiresAt time.Time // zero: never
	DaysLeft  int       // as of a [Token]
}

// A Variable is one CI/CD variable.
type Variable struct {
	Key         string
	Value       secret.Value // zero where GitLab hides it for ever
	File        bool         // variable_type file
	Protected   bool
	Masked      bool
	Hidden      bool
	Raw         bool
	Scope       string // environment scope; "*" is every environment
	Description string
}

// TokenKind tells access tokens from deploy tokens.
type TokenKind string

// The kinds of a [Token] that an owner has.
const (
	AccessToken TokenKind = "access token"
	DeployToken TokenKind = "deploy token"
)

// A Token is a personal, group or project access token, or a deploy token.
type Token struct {
	ID          int64
	Name        string
	Username    string // deploy tokens only
	Description string // access tokens only
	Scopes      []string
	Level       int          // access tokens of groups and projects: 20 is Reporter
	Expires     time.Time    // the token is dead from this moment on; zero: never
	DaysLeft    int          // whole days until then, at the time of the look; 0 where Expires is zero
	Active      bool         // neither revoked nor expired
	NeverUsed   bool         // nobody has logged in with it yet; of deploy tokens GitLab does not tell, and it is false
	Value       secret.Value // only in what CreateToken returns
}

// Access levels: https://docs.gitlab.com/api/access_requests/#valid-access-levels
const (
	Reporter   = 20 // may read a registry
	Maintainer = 40 // may add deploy keys and variables to a project
)
