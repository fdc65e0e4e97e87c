package inventory

import (
	"slices"
	"time"
)

// Here stands each key of the file, once: its name, what it means, what its
// value looks like, and the field that it fills. [Schema], the suggestions for
// wrong keys and docs/inventory.md are made from this.

// A document is the whole file. What depends on other tables is read after them.
type document struct {
	gitlab      GitLab
	registry    Registry
	registries  *node
	defaults    defaults
	hosts       *node
	deployments *node
}

type defaults struct{ host, deployment *node }

var documentSection = fields(section{name: "inventory"},
	bind("gitlab", "The GitLab that holds the projects and runs the pipelines.",
		tableOf(gitlabSection, GitLab{SSH: SSHServer{User: "git", Port: 22}, Token: Secret{Env: "GITLAB_TOKEN"}}),
		func(d *document, g GitLab) { d.gitlab = g }).mustHave(),
	bind("registry", "The container registry of GitLab, which the images of its projects are pulled from.",
		tableOf(registrySection, Registry{Credential: Credential{Kind: GroupAccessToken}}),
		func(d *document, r Registry) { d.registry = r }).mustHave(),
	bind("registries", "Further container registries, by a name of your choice: [registries.NAME]. A deployment is logged in to those that it names.",
		asIs(shape{kind: someTables, section: &otherRegistrySection.section}),
		func(d *document, n *node) { d.registries = n }),
	bind("defaults", "What every host and every deployment has that does not say otherwise.",
		tableOf(defaultsSection, defaults{}),
		func(d *document, all defaults) { d.defaults = all }).orEmpty(),
	bind("hosts", "The hosts, by a name of your choice: [hosts.NAME].",
		asIs(shape{kind: someTables, section: &hostSection.section}),
		func(d *document, n *node) { d.hosts = n }).must(`write [hosts.web1] with address = "…"`),
	bind("deployments", "What runs on the hosts, by a name of your choice: [deployments.NAME]. Each is one Compose project of one user.",
		asIs(shape{kind: someTables, section: &deploymentSection.section}),
		func(d *document, n *node) { d.deployments = n }),
)

var defaultsSection = fields(section{name: "defaults"},
	bind("host", "Every host has these keys, unless its own table has them.",
		asIs(shape{kind: aTable, section: &hostDefaultsSection.section}),
		func(d *defaults, n *node) { d.host = n }).orEmpty(),
	bind("deployment", "Every deployment has these keys, unless its own table has them. Of parameters, env and files each stands for itself; all else is taken as a whole.",
		asIs(shape{kind: aTable, section: &deploymentSection.section}),
		func(d *defaults, n *node) { d.deployment = n }).orEmpty(),
)

var gitlabSection = fields(section{name: "gitlab"},
	bind("url", "Where GitLab is, with the path if it lives below one: https://example.com/gitlab. Plain http:// is for this machine alone.",
		parsed(shape{rule: gitlabURL, pattern: pattern(`^[Hh][Tt][Tt][Pp][Ss]?://[^@#?]+$`)}, knownURL),
		func(g *GitLab, u serverAddress) { g.URL, g.SSH.Host = u.url, u.host }).must(`write url = "https://git.example.com"`),
	bind("token", "Where the admin's token is found; it needs the scope api. Without it: the environment's GITLAB_TOKEN.",
		secretFrom(`{ env = "GITLAB_TOKEN" }, { file = "…" } or { command = ["…"] }`),
		func(g *GitLab, s Secret) { g.Token = s }),
	bind("ca_file", "A file with the certificates of a private CA, in PEM.", certificates,
		func(g *GitLab, pem []byte) { g.CA = pem }),
	bind("ssh", "Where git is served over SSH, if not by git@ at port 22 of the host of the url: ssh://git@git.example.com:2222.",
		parsed(shape{rule: gitOverSSH, pattern: pattern(`^[Ss][Ss][Hh]://.+$`)}, func(s string) SSHServer { server, _, _ := sshServer(s); return server }),
		func(g *GitLab, s SSHServer) { g.SSH = s }),
	bind("host_keys", "The keys of git over SSH. The hosts trust these and no others: take them from GitLab's page Help > Instance configuration, or from /etc/ssh/*.pub on the server.",
		hostKeys,
		func(g *GitLab, keys []string) { g.HostKeys = keys }).must(`write host_keys = ["ssh-ed25519 AAAA…"], the keys of git over SSH from a source you trust`),
)

var registrySection = fields(section{name: "registry"},
	bind("host", "The registry as it stands in the names of images, with the port if there is one.",
		stringOf(shape{rule: registryHost, pattern: pattern(`^[^/@A-Z]+$`)}),
		func(r *Registry, s string) { r.Host = s }).must(`write host = "registry.example.com"`),
	bind("ca_file", "A file with the certificates of a private CA, in PEM.", certificates,
		func(r *Registry, pem []byte) { r.CA = pem }),
	bind("credential", "What the hosts log in with: a group access token or a deploy token of their own, which can do nothing but read images, or a login of yours. GitLab.com has group access tokens from Premium on.",
		credential,
		func(r *Registry, c Credential) { r.Credential = c }),
	bind("group", "The group whose token reads the images. Without it: for each deployment the group that its project lives in.",
		stringOf(group),
		func(r *Registry, s string) { r.Group = s }),
)

var otherRegistrySection = fields(section{name: "another registry", named: true},
	bind("host", "The registry as it stands in the names of images, with the port if there is one; docker.io for Docker Hub.",
		stringOf(shape{rule: namedRegistryHost, pattern: pattern(`^[^/@A-Z]+$`)}),
		func(r *registryTable, s string) { r.Host = s }).must(`write host = "docker.io"`).at(func(r *registryTable) **node { return &r.host }),
	bind("ca_file", "A file with the certificates of a private CA, in PEM.", certificates,
		func(r *registryTable, pem []byte) { r.CA = pem }),
	bind("credential", "The login of the deployments that name the registry. Without it: none, as everybody may read there.",
		namedCredential,
		func(r *registryTable, c Credential) { r.Credential = c }),
)

var credentialSection = fields(section{name: "credential"},
	bind("username", "The user name to log in with.", stringOf(shape{}),
		func(c *Credential, s string) { c.Username = s }).must(`write username = "…"`),
	bind("password", "Where the password is found.", secretFrom(anySecret),
		func(c *Credential, s Secret) { c.Password = s }).must("write password = "+anySecret),
)

var secretSection = fields(section{name: "secret", either: exactlyOne},
	bind("env", "The name of an environment variable that holds the secret.", stringOf(shape{rule: envName, pattern: envForm}),
		func(s *Secret, name string) { s.Env = name }).or(),
	bind("file", "A file that holds the secret, and that not everybody can read.", filePath,
		func(s *Secret, path string) { s.File = path }).or(),
	bind("command", "A program and its arguments, which prints the secret. There is no shell.", argv,
		func(s *Secret, words []string) { s.Command = words }).or(),
)

var hostSection = fields(section{name: "host", named: true}, slices.Concat([]key[hostTable]{
	bind("address", `A host name or an IP address, with a port if it is not 22; a name from ~/.ssh/config; or "local", this machine.`,
		parsed(shape{rule: hostAddress, pattern: addressForm}, placeOf),
		func(h *hostTable, a hostPlace) { h.Local, h.Address, h.Port = a.local, a.host, a.port }).
		must(`write address = "host", "host:port" or "local"`).at(func(h *hostTable) **node { return &h.address }),
	bind("ci_address", "What the runners of CI call the host, if it is not the address.",
		parsed(shape{rule: runnersAddress, pattern: addressForm}, placeOf),
		func(h *hostTable, a hostPlace) { h.CIAddress, h.CIPort = a.host, a.port }).at(func(h *hostTable) **node { return &h.ciAddress }),
}, shared)...)

var hostDefaultsSection = fields(section{name: "host defaults", perHost: []string{"address", "ci_address"}}, shared...)

// shared are the keys of a host that may also stand in the defaults.
var shared = []key[hostTable]{
	bind("user", "The login of the admin. Without it: what ~/.ssh/config says, else your own name.", stringOf(shape{rule: login, pattern: loginForm}),
		func(h *hostTable, s string) { h.User = s }),
	bind("host_keys", "The keys of the host. Without them those in your known_hosts count. A CA that signs keys of hosts is written \"@cert-authority ssh-ed25519 AAAA…\".", hostKeys,
		func(h *hostTable, keys []string) { h.HostKeys = keys }),
	bind("become", "How the login gets the rights of root.", word(BecomeSudo, BecomeDoas, BecomeNone),
		func(h *hostTable, b Become) { h.Become = b }),
	bind("become_password", "Where the password for that is found. Without it, it is asked for where one is needed.", secretFrom(anySecret),
		func(h *hostTable, s Secret) { h.BecomePassword = s }),
	bind("identity", "A key file to log in with, besides the keys of the agent and of ~/.ssh/config.", filePath,
		func(h *hostTable, path string) { h.Identity = path }),
	bind("engine", "Docker, Compose and git are present, or else that is an error; or they are installed from the packages of the distribution.",
		word(EnginePresent, EngineDistribution),
		func(h *hostTable, e Engine) { h.Engine = e }),
}

var deploymentSection = fields(section{name: "deployment", named: true, inherits: true, either: atMostOne},
	bind("host", "The host that it runs on.", asIs(shape{pattern: nameForm}),
		func(d *deploymentTable, n *node) { d.host = n }).or(),
	bind("hosts", "The hosts that it runs on, each with a key and with variables of its own, in the environment with the name of the host behind it: production/web1. A list of one host is a list, too.",
		asIs(shape{kind: aList, pattern: nameForm}),
		func(d *deploymentTable, n *node) { d.hosts = n }).or(),
	bind("project", "The full path of the GitLab project that holds the compose.yaml.", stringOf(project),
		func(d *deploymentTable, s string) { d.Project = s }).must(`write project = "transmogrify/frobnicator", the one that holds the compose.yaml`),
	bind("user", "The Unix user that owns the deployment. It is made if it is not there.",
		stringOf(shape{rule: unixUser, pattern: unixUserForm, never: pattern(`^root$`)}),
		func(d *deploymentTable, s string) { d.User = s }).must(`write user = "deploy-user"`).at(func(d *deploymentTable) **node { return &d.user }),
	bind("directory", "Where the project is cloned to, in the home of the user. It is also the name of the Compose project.",
		stringOf(shape{rule: composeName, pattern: directoryForm}),
		func(d *deploymentTable, s string) { d.Directory = s }).mustAs(directoryHint).at(func(d *deploymentTable) **node { return &d.directory }),
	bind("environment", "The environment in GitLab that CI's variables are meant for. Without it they are meant for all.",
		stringOf(shape{rule: environment, pattern: environmentForm, never: pattern(`^/|/$`)}),
		func(d *deploymentTable, s string) { d.Environment = s }).at(func(d *deploymentTable) **node { return &d.environment }),
	bind("branch", "The branch that is deployed. Without it: the default branch of the project.", stringOf(shape{rule: branch, never: badBranch}),
		func(d *deploymentTable, s string) { d.Branch = s }),
	bind("variables", "Where the variables of CI go: to a group or to projects. Environments of variables of a group need GitLab Premium; those of projects are in every tier.",
		tableOf(variablesSection, Variables{}),
		func(d *deploymentTable, v Variables) { d.Variables = v }).mustAs(variablesHint).at(func(d *deploymentTable) **node { return &d.variables }),
	bind("override", "A file that becomes the compose.override.yaml of the deployment. In it @{port} stands for the parameter port.", filePath,
		func(d *deploymentTable, path string) { d.overridePath = path }).at(func(d *deploymentTable) **node { return &d.override }),
	bind("parameters", "What stands in the override for @{name}; @{host}, @{deployment} and @{environment} are always there. No secret can be a parameter.",
		asIs(shape{kind: someValues}),
		func(d *deploymentTable, n *node) { d.parameters = n }),
	bind("registries", "The further registries that the user of the deployment is logged in to, by their names in [registries.NAME]. Without it: none. Everybody is logged in to the one of [registry].",
		asIs(shape{kind: aList, pattern: nameForm, none: true}),
		func(d *deploymentTable, n *node) { d.registries = n }),
	bind("compose", "The Compose files of the project, where they are not those that Compose finds in its root. Their paths start at the root; what stands in them starts at the folder of the first one. The override is read behind them.",
		stringsOf(shape{rule: composeFile, pattern: clonePathForm, never: outside}),
		func(d *deploymentTable, files []string) { d.Compose = files }),
	bind("profiles", "The Compose profiles that are active.", stringsOf(shape{rule: profile, pattern: serviceForm}),
		func(d *deploymentTable, names []string) { d.Profiles = names }),
	bind("env", "Variables for compose.yaml: they are written into .env in the clone, which the user alone can read. A secret is { env = \"…\" }, { file = \"…\" } or { command = [\"…\"] }.", settings,
		func(d *deploymentTable, all []Setting) { d.Env = all }).at(func(d *deploymentTable) **node { return &d.env }),
	bind("files", "Files with secrets, which are written into the clone, for the user alone to read: by its path there, where each is found.", secretFiles,
		func(d *deploymentTable, all []SecretFile) { d.Files = all }).at(func(d *deploymentTable) **node { return &d.files }),
	bind("wait", "How long a deploy waits for every service to be healthy (or to run, where it has no health check), from 1s to 1h. Default: 5m.",
		parsed(shape{rule: waiting, pattern: pattern(`^\+?([0-9]*\.?[0-9]*(ns|us|µs|μs|ms|s|m|h))+$`), absent: "5m"},
			func(s string) time.Duration { d, _ := time.ParseDuration(s); return d }),
		func(d *deploymentTable, wait time.Duration) { d.Wait = wait }),
	bind("rollback", "Whether a deploy that fails goes back to the images and the override of the last good deploy.", boolean,
		func(d *deploymentTable, b bool) { d.Rollback = b }),
	bind("keep_images", "How many versions of each service's image stay on the host after a good deploy: the running one, and the ones before it. Default: 2.",
		integer(1, 100, 2),
		func(d *deploymentTable, n int) { d.KeepImages = n }),
	bind("logs", "How many lines of the logs of a service that failed are printed in the job of the deploy. Logs of containers may hold secrets. Default: 0, none.",
		integer(0, 1000, 0),
		func(d *deploymentTable, n int) { d.Logs = n }),
	bind("version", "The variable in compose.yaml that names the version, like TAG of ${TAG}. With it CI may ask for a version, like deploy 1.4.2, or for a digest, like deploy sha256:….",
		stringOf(shape{rule: versionVariable, pattern: envForm, never: takenVariable}),
		func(d *deploymentTable, s string) { d.Version = s }),
	bind("before", "The Compose service that a deploy runs to its end with the pulled image before anything is replaced: a migration. If it fails, the old version runs on untouched.",
		stringOf(shape{rule: composeService, pattern: serviceForm}),
		func(d *deploymentTable, s string) { d.Before = s }),
)

var variablesSection = fields(section{name: "variables", either: exactlyOne},
	bind("group", "A group: all its projects see the variables.", stringOf(group),
		func(v *Variables, s string) { v.Group = s }).or(),
	bind("projects", "Projects that see the variables.", stringsOf(project),
		func(v *Variables, all []string) { v.Projects = all }).or(),
	bind("prefix", "Stands before the names of the variables, to keep apart what would have the same name and environment.",
		stringOf(shape{rule: variablePrefix, pattern: prefixForm}),
		func(v *Variables, s string) { v.Prefix = s }),
)

var (
	addressForm = pattern(`^(` + hostName + `|\[[^\]]+\])(:[0-9]+)?$`)
	group       = shape{rule: groupPath, pattern: pattern(`^` + pathPart + `(/` + pathPart + `)*$`), never: badPath}
	project     = shape{rule: projectPath, pattern: pattern(`^` + pathPart + `(/` + pathPart + `)+$`), never: badPath}
)

// Wrong says what is wrong with a string as the value of a key that has a rule,
// and what to write instead; what is "" if nothing is. It is for those who write
// inventories, and knows tables by what they are about: "gitlab", "host". It
// panics where there is no such key.
func Wrong(table, key, value string) (what, hint string) {
	s := documentSection.find(table)
	i := slices.Index(s.names(), key)
	return s.entries[i].rule(value)
}
