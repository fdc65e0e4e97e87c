// Package inventory reads the one file that says which hosts there are and
// what is to be deployed on them.
//
// The file is TOML; example.toml beside this package shows every key. It is
// read strictly: a key that means nothing is an error, and so is a value that
// could not work. All errors of a file are found in one go, each with its
// place and with what to write instead, see [Problems].
//
// A secret never stands in an inventory, only where to find it, see [Secret].
package inventory

import (
	"strings"
	"time"
)

// An Inventory is a whole file, checked, with all defaults filled in.
type Inventory struct {
	Path        string // as given to [Load]
	GitLab      GitLab
	Registry    Registry      // of GitLab, which all deployments have
	Registries  []*Registry   // further ones, in the order of the file
	Hosts       []*Host       // in the order of the file; a host may have no deployment
	Deployments []*Deployment // in the order of the file; one for each host of a deployment
}

// GitLab is the server that holds the projects and runs the pipelines.
type GitLab struct {
	URL      string // https, without a slash at its end; a path where GitLab lives below one
	Token    Secret // the admin's token; the environment's GITLAB_TOKEN where the file names none
	CA       []byte // PEM certificates besides the machine's own; nil: none
	SSH      SSHServer
	HostKeys []string // of git over SSH, each "TYPE BASE64" or "@cert-authority TYPE BASE64"; at least one
}

// SSHServer is where git is served over SSH.
type SSHServer struct {
	User string // "git" unless the file says otherwise
	Host string // a name, or an IP address without brackets
	Port int    // 22 unless the file says otherwise
}

// Registry is a container registry that images are pulled from: that of GitLab,
// or another one, which has no Group, and whose Credential is Named or none.
type Registry struct {
	Name       string // as in [registries.NAME]; "": that of [registry]
	Host       string // as in the name of an image, with the port if there is one
	CA         []byte // PEM certificates besides the machine's own; nil: none
	Credential Credential
	Group      string // the group whose token reads the images; "": for each deployment the namespace of its project
}

// A Credential says what a host logs in to the registry with.
type Credential struct {
	Kind     CredentialKind
	Username string // only where Kind is Named
	Password Secret // only where Kind is Named
}

// CredentialKind tells the credentials apart that a host can log in with.
type CredentialKind string

// The kinds of a [Credential].
const (
	GroupAccessToken CredentialKind = "group-access-token" // made for the host; the default
	DeployToken      CredentialKind = "deploy-token"       // made for the host
	Named            CredentialKind = "named"              // named by the inventory
	NoCredential     CredentialKind = ""                   // everybody may read there
)

// A Host is a machine that things are deployed on.
//
// Of a local host only Name, CIAddress, CIPort, Become, BecomePassword and
// Engine have a meaning.
type Host struct {
	Name    string // unique; [a-z0-9][a-z0-9._-]*, at most 63 characters
	Local   bool   // this very machine, without SSH
	Address string // a name, an IP address without brackets, or an alias of ssh_config(5)
	Port    int    // 0: what ssh_config(5) says, or else 22
	User    string // the admin's login; "": what ssh_config(5) says, or else the local user

	// What CI's runners call the host. "": the same as Address, and CIPort
	// is 0 then. A local host with deployments always has one.
	CIAddress string
	CIPort    int

	HostKeys       []string // as in GitLab.HostKeys; none: the admin's known_hosts decides
	Identity       string   // path of a key file; "": the agent, and what ssh_config(5) says
	Become         Become
	BecomePassword Secret // zero: none is needed, or it is asked for
	Engine         Engine
}

// Become says how a login gets the rights of root.
type Become string

// The ways to get the rights of root.
const (
	BecomeSudo Become = "sudo" // the default
	BecomeDoas Become = "doas"
	BecomeNone Become = "none" // the login has them
)

// Engine says who installs Docker, Compose and git.
type Engine string

// What may be said about the engine.
const (
	EnginePresent      Engine = "present"      // it is there, or that is an error; the default
	EngineDistribution Engine = "distribution" // installed from the packages of the distribution
)

// A Deployment is one Compose project of one user on one host.
//
// One with several hosts in the file is as many Deployments: they share the
// name and differ in Host and Scope, and in what depends on them.
type Deployment struct {
	Name        string // formed like the name of a host; unique on its host
	Host        *Host
	Project     string // full path of the GitLab project that holds the compose.yaml
	User        string // the Unix user; never root
	Directory   string // below the home of User; also the name of the Compose project
	Environment string // of GitLab; "": none
	Scope       string // of CI's variables: Environment; where the file has a list of hosts with "/" and this one's name; or "*"
	Branch      string // that is deployed; "": the project's default branch
	Variables   Variables
	Override    *Override // nil: no compose.override.yaml
	Parameters  map[string]string
	Compose     []string      // the Compose files, as paths in the clone, in the order in which they are read; none: those that Compose finds
	Profiles    []string      // the Compose profiles that are active; none: what the clone says itself
	Env         []Setting     // what stands in the .env of the clone, by name
	Files       []SecretFile  // that are written into the clone, by path; none lies in another
	Wait        time.Duration // how long a deploy waits for health, in whole seconds; never 0
	Rollback    bool          // whether a deploy that fails goes back to the images and the override of the last good one
	KeepImages  int           // how many versions of each service's image stay on the host, the running one among them; at least 1
	Logs        int           // how many lines of the logs of a service that failed a deploy prints; 0: none
	Version     string        // the variable in the compose.yaml that names the version; "": CI cannot ask for one
	Before      string        // the service that is run to its end before anything is replaced; "": none
	Registries  []*Registry   // further ones that its user is logged in to, besides [Inventory.Registry]
	TokenGroup  string        // the group whose token reads the images: Registry.Group, or the namespace of Project
}

// Listed reports whether the file gives the deployment a list of hosts, so that
// each host has variables in a scope of its own.
func (d *Deployment) Listed() bool { return d.Environment != "" && d.Scope != d.Environment }

// Variables says where the variables of CI live and how they are called.
// Either Group is set or Projects has at least one element.
type Variables struct {
	Group    string   // full path
	Projects []string // full paths, no two the same
	Prefix   string
}

// The variables of CI, as they are called without a prefix; see [Variables.Key].
const (
	CIKeyVariable        = "SSH_AUTH"          // a file: the private key, which is the CI key
	KnownHostsVariable   = "SSH_KNOWN_HOSTS"   // lines of known_hosts; no file
	DeployTargetVariable = "SSH_DEPLOY_TARGET" // ssh://USER@HOST:PORT; no file
)

// Key returns the name of the variable that is called base without a prefix.
func (v Variables) Key(base string) string { return v.Prefix + base }

// owners returns the full paths of the groups and projects that get the
// variables. They tell owners apart: in GitLab no group and project share one.
func (v Variables) owners() []string {
	if v.Group != "" {
		return []string{v.Group}
	}
	return v.Projects
}

// An Override is the compose.override.yaml of one deployment.
type Override struct {
	Path string // of the file that it was made from
	Text string // of that file, with the parameters filled in
}

// A Setting is a variable in the .env of a deployment.
type Setting struct {
	Name   string // never one that another key is for
	Text   string // its value, in one line; "" where Secret is not zero
	Secret Secret // where its value is found, see [Secret.ReadText]
}

// A SecretFile is a file in the clone of a deployment that git does not bring.
type SecretFile struct {
	Path   string // in the clone, with slashes and without ".."
	Secret Secret // where its content is found, see [Secret.ReadAll]
}

// Host returns the host of that name, or nil.
func (inv *Inventory) Host(name string) *Host {
	for _, h := range inv.Hosts {
		if h.Name == name {
			return h
		}
	}
	return nil
}

// On returns the deployments on a host, in the order of the file.
func (inv *Inventory) On(host *Host) []*Deployment {
	var on []*Deployment
	for _, d := range inv.Deployments {
		if d.Host == host {
			on = append(on, d)
		}
	}
	return on
}

// namespace returns the full path of what a project lives in.
func namespace(project string) string {
	at := strings.LastIndexByte(project, '/')
	return project[:max(at, 0)]
}
