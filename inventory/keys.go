package inventory

import (
	"regexp"
	"slices"
)

// A key is one that may stand in a table of the file. The reader holds its
// value to the form; [Schema] tells both to editors.
type key struct {
	name  string
	about string // in sentences, for editors
	form  form
}

// A form says what the value of a key looks like.
type form struct {
	kind    kind
	of      string                // of a table, or of named ones: which of keys
	words   []string              // one of these; the first is the default
	rule    rule                  // of a string, or of each of a list
	pattern func() *regexp.Regexp // fits whatever rule lets pass, and often more; an editor can know no more
	never   func() *regexp.Regexp // fits nothing that rule lets pass
	least   int                   // of an integer: the smallest, and the largest
	most    int
	absent  any // what holds where the key is absent; of words it is the first
}

// A kind of value.
type kind int

const (
	aString     kind = iota
	aList            // of strings, none of them twice
	anArgv           // of strings
	aBool            // true or false
	anInt            // from least to most
	aTable           // one of keys
	someTables       // each with a name of its own
	someValues       // a table of strings, integers and booleans
	aCredential      // one of the words, or a table
)

// keys are all keys of the file, by the table that they stand in.
var keys = map[string][]key{
	"inventory": {
		{"gitlab", "The GitLab that holds the projects and runs the pipelines.", form{kind: aTable, of: "gitlab"}},
		{"registry", "The container registry that the images are pulled from.", form{kind: aTable, of: "registry"}},
		{"defaults", "What every host and every deployment has that does not say otherwise.", form{kind: aTable, of: "defaults"}},
		{"hosts", "The hosts, by a name of your choice: [hosts.NAME].", form{kind: someTables, of: "host"}},
		{"deployments", "What runs on the hosts, by a name of your choice: [deployments.NAME]. Each is one Compose project of one user.", form{kind: someTables, of: "deployment"}},
	},
	"defaults": {
		{"host", "Every host has these keys, unless its own table has them.", form{kind: aTable, of: "host defaults"}},
		{"deployment", "Every deployment has these keys, unless its own table has them. Of parameters each stands for itself; all else is taken as a whole.", form{kind: aTable, of: "deployment"}},
	},
	"gitlab": {
		{"url", "Where GitLab is, with the path if it lives below one: https://example.com/gitlab. Plain http:// is for this machine alone.",
			form{rule: gitlabURL, pattern: pattern(`^[Hh][Tt][Tt][Pp][Ss]?://[^@#?]+$`)}},
		{"token", "Where the admin's token is found; it needs the scope api. Without it: the environment's GITLAB_TOKEN.", form{kind: aTable, of: "secret"}},
		{"ca_file", "A file with the certificates of a private CA, in PEM.", form{}},
		{"ssh", "Where git is served over SSH, if not by git@ at port 22 of the host of the url: ssh://git@git.example.com:2222.",
			form{rule: gitOverSSH, pattern: pattern(`^[Ss][Ss][Hh]://.+$`)}},
		{"host_keys", "The keys of git over SSH. The hosts trust these and no others: take them from GitLab's page Help > Instance configuration, or from /etc/ssh/*.pub on the server.", hostKeys},
	},
	"registry": {
		{"host", "The registry as it stands in the names of images, with the port if there is one.",
			form{rule: registryHost, pattern: pattern(`^[^/@A-Z]+$`)}},
		{"ca_file", "A file with the certificates of a private CA, in PEM.", form{}},
		{"credential", "What the hosts log in with: a group access token or a deploy token of their own, which can do nothing but read images, or a login of yours. GitLab.com has group access tokens from Premium on.",
			form{kind: aCredential, of: "credential", words: []string{string(GroupAccessToken), string(DeployToken)}}},
		{"group", "The group whose token reads the images. Without it: for each deployment the group that its project lives in.", group},
	},
	"credential": {
		{"username", "The user name to log in with.", form{}},
		{"password", "Where the password is found.", form{kind: aTable, of: "secret"}},
	},
	"secret": {
		{"env", "The name of an environment variable that holds the secret.", form{rule: envName, pattern: envForm}},
		{"file", "A file that holds the secret, and that not everybody can read.", form{}},
		{"command", "A program and its arguments, which prints the secret. There is no shell.", form{kind: anArgv}},
	},
	"host": slices.Concat([]key{
		{"address", `A host name or an IP address, with a port if it is not 22; a name from ~/.ssh/config; or "local", this machine.`,
			form{rule: hostAddress, pattern: addressForm}},
		{"ci_address", "What the runners of CI call the host, if it is not the address.", form{rule: hostAddress, pattern: addressForm}},
	}, shared),
	"host defaults": shared,
	"deployment": {
		{"host", "The host that it runs on.", form{pattern: nameForm}},
		{"hosts", "The hosts that it runs on, each with a key and with variables of its own, in the environment with the name of the host behind it: production/web1. A list of one host is a list, too.", form{kind: aList, pattern: nameForm}},
		{"project", "The full path of the GitLab project that holds the compose.yaml.",
			form{rule: projectPath, pattern: pattern(`^` + pathPart + `(/` + pathPart + `)+$`), never: badPath}},
		{"user", "The Unix user that owns the deployment. It is made if it is not there.", form{rule: unixUser, pattern: unixUserForm, never: pattern(`^root$`)}},
		{"directory", "Where the project is cloned to, in the home of the user. It is also the name of the Compose project.", form{rule: composeName, pattern: directoryForm}},
		{"environment", "The environment in GitLab that CI's variables are meant for. Without it they are meant for all.",
			form{rule: environment, pattern: environmentForm, never: pattern(`^/|/$`)}},
		{"branch", "The branch that is deployed. Without it: the default branch of the project.", form{rule: branch, never: badBranch}},
		{"variables", "Where the variables of CI go: to a group or to projects. Environments of variables of a group need GitLab Premium; those of projects are in every tier.",
			form{kind: aTable, of: "variables"}},
		{"override", "A file that becomes the compose.override.yaml of the deployment. In it @{port} stands for the parameter port.", form{}},
		{"parameters", "What stands in the override for @{name}; @{host}, @{deployment} and @{environment} are always there. No secret can be a parameter.", form{kind: someValues}},
		{"wait", "How long a deploy waits for every service to be healthy (or to run, where it has no health check), from 1s to 1h. Default: 5m.",
			form{rule: waiting, pattern: pattern(`^\+?([0-9]*\.?[0-9]*(ns|us|µs|μs|ms|s|m|h))+$`), absent: defaultWait}},
		{"rollback", "Whether a deploy that fails goes back to the images and the override of the last good deploy.", form{kind: aBool}},
		{"keep_images", "How many versions of each service's image stay on the host after a good deploy: the running one, and the ones before it. Default: 2.",
			form{kind: anInt, least: 1, most: 100, absent: 2}},
		{"logs", "How many lines of the logs of a service that failed are printed in the job of the deploy. Logs of containers may hold secrets. Default: 0, none.",
			form{kind: anInt, least: 0, most: 1000, absent: 0}},
		{"version", "The variable in compose.yaml that names the version, like TAG of ${TAG}. With it CI may ask for a version, like deploy 1.4.2, or for a digest, like deploy sha256:….",
			form{rule: versionVariable, pattern: envForm, never: takenVariable}},
		{"before", "The Compose service that a deploy runs to its end with the pulled image before anything is replaced: a migration. If it fails, the old version runs on untouched.",
			form{rule: composeService, pattern: serviceForm}},
	},
	"variables": {
		{"group", "A group: all its projects see the variables.", group},
		{"projects", "Projects that see the variables.", form{kind: aList, rule: projectPath, pattern: pattern(`^` + pathPart + `(/` + pathPart + `)+$`), never: badPath}},
		{"prefix", "Stands before the names of the variables, to keep apart what would have the same name and environment.", form{rule: variablePrefix, pattern: prefixForm}},
	},
}

// defaultWait is the wait of a deployment that has none.
const defaultWait = "5m"

// shared are the keys of a host that may also stand in the defaults.
var shared = []key{
	{"user", "The login of the admin. Without it: what ~/.ssh/config says, else your own name.", form{rule: login, pattern: loginForm}},
	{"host_keys", "The keys of the host. Without them those in your known_hosts count. A CA that signs keys of hosts is written \"@cert-authority ssh-ed25519 AAAA…\".", hostKeys},
	{"become", "How the login gets the rights of root.", words(BecomeSudo, BecomeDoas, BecomeNone)},
	{"become_password", "Where the password for that is found. Without it, it is asked for where one is needed.", form{kind: aTable, of: "secret"}},
	{"identity", "A key file to log in with, besides the keys of the agent and of ~/.ssh/config.", form{}},
	{"engine", "Docker, Compose and git are present, or else that is an error; or they are installed from the packages of the distribution.",
		words(EnginePresent, EngineDistribution)},
}

var (
	addressForm = pattern(`^(` + hostName + `|\[[^\]]+\])(:[0-9]+)?$`)
	hostKeys    = form{kind: aList, rule: publicKey, pattern: pattern(`^(@cert-authority +)?[^ ]+ +[A-Za-z0-9+/]+=*( .*)?$`), never: pattern(`PRIVATE KEY`)}
	group       = form{rule: groupPath, pattern: pattern(`^` + pathPart + `(/` + pathPart + `)*$`), never: badPath}
)

func words[T ~string](all ...T) form {
	var f form
	for _, word := range all {
		f.words = append(f.words, string(word))
	}
	return f
}

// names returns the keys of a table.
func names(of string) []string {
	var all []string
	for _, k := range keys[of] {
		all = append(all, k.name)
	}
	return all
}

// Wrong says what is wrong with a string as the value of a key that has a rule,
// and what to write instead; what is "" if nothing is. It is for those who write
// inventories, and knows tables by what they are about: "gitlab", "host".
func Wrong(table, key, value string) (what, hint string) {
	f, _ := formOf(table, key)
	return f.rule(value)
}

// formOf returns the form of a key of a table; false if it has no such key.
func formOf(of, name string) (form, bool) {
	for _, k := range keys[of] {
		if k.name == name {
			return k.form, true
		}
	}
	return form{}, false
}
