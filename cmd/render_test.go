package cmd_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"provision/cmd"
	"provision/e2e/needs"
)

const fleetHead = `
[gitlab]
url = "https://git.example.com"
host_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC5pD8xXmTv2s5o8jrefxD4xScp82SkYM9QBPp/kMnm0"]
[registry]
host = "registry.example.com"
[hosts.web1]
address = "web1.example.com"
[hosts.web2]
address = "web2.example.com"
`

// renderDeployment is one deployment of an inventory; keys are lines of its table.
func renderDeployment(name string, keys ...string) string {
	return fmt.Sprintf("[deployments.%s]\nproject = \"acme/%s\"\nuser = \"deploy-%s\"\ndirectory = \"%s\"\n%s\n", name, name, name, name, strings.Join(keys, "\n"))
}

const (
	onWeb1  = `host = "web1"`
	ofGroup = `variables = { group = "acme" }`
)

// render runs the command on an inventory.
func render(t *testing.T, deployments string, args ...string) (code int, out, errs string) {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("fleet", 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("fleet", "inventory.toml")
	for name, text := range map[string]string{file: fleetHead + deployments, "fleet/override.yaml": "services: {app: {hostname: \"@{host}\"}}"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var stdout, stderr bytes.Buffer
	code = cmd.Run(context.Background(), cmd.Env{Args: append(append([]string{"provision", "render"}, args...), file), Stdout: &stdout, Stderr: &stderr})
	return code, stdout.String(), stderr.String()
}

// A ciJob is a job as GitLab reads it.
type ciJob struct {
	Extends, Stage, Image string
	Needs                 any
	Cache, Dependencies   *[]string
	Interruptible         *bool
	Rules                 []map[string]string
	Parallel              any
	Environment           map[string]string
	ResourceGroup         string `yaml:"resource_group"`
	Variables             map[string]string
	BeforeScript          string `yaml:"before_script"`
	Script                string
	Artifacts             struct {
		When, Access string
		ExposeAs     string `yaml:"expose_as"`
		Paths        []string
		Reports      map[string]string
	}
}

// renderJobs renders, and reads back the documents: the header of a component,
// and the jobs.
func renderJobs(t *testing.T, deployments string, args ...string) (header map[string]any, jobs map[string]ciJob, text string) {
	t.Helper()
	code, out, errs := render(t, deployments, append([]string{"ci"}, args...)...)
	if code != 0 || errs != "" {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	decoder := yaml.NewDecoder(strings.NewReader(out))
	decoder.KnownFields(true)
	if slices.Contains(args, "--component") {
		if err := decoder.Decode(&header); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	if err := decoder.Decode(&jobs); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := decoder.Decode(new(any)); err == nil {
		t.Fatalf("there is another document:\n%s", out)
	}
	for name, j := range jobs {
		if j.Script != "" {
			lintScript(t, name, j.BeforeScript+j.Script) // GitLab runs both in one shell
		}
	}
	return header, jobs, out
}

func lintScript(t *testing.T, name, script string) {
	t.Helper()
	needs.Program(t, "shellcheck")
	c := exec.Command("shellcheck", "--shell=sh", "--exclude=SC2034", "-") // not every job has a use for all variables
	c.Stdin = strings.NewReader(script)
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", name, err, out)
	}
}

// describeJob says in one line what a job does when, and where.
func describeJob(j ciJob) string {
	var parts []string
	for _, r := range j.Rules {
		parts = append(parts, strings.TrimSpace("if "+r["if"]+" "+r["when"]))
	}
	return fmt.Sprintf("%s | %v | %s %s | %s | %v", strings.Join(parts, ", "), j.Parallel, j.Environment["name"], j.Environment["action"], j.ResourceGroup, j.Variables)
}

const (
	notNightly = `if $CI_PIPELINE_SOURCE == "schedule" never, `
	onDefault  = notNightly + `if $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH`
)

func TestRenderDeployJobs(t *testing.T) {
	var many, chunks []string
	var hosts strings.Builder
	for i := range 201 {
		name := fmt.Sprintf("h%d", i)
		fmt.Fprintf(&hosts, "[hosts.%s]\naddress = \"%s.example.com\"\n", name, name)
		many, chunks = append(many, fmt.Sprintf("%q", name)), append(chunks, "live/"+name)
	}
	for name, c := range map[string]struct {
		inventory string
		want      map[string]string
	}{
		"one": {renderDeployment("shop", onWeb1, ofGroup, `environment = "production"`), map[string]string{
			"deploy shop": onDefault + ` | <nil> | production  | production | map[]`}},
		"a branch": {renderDeployment("shop", onWeb1, ofGroup, `environment = "staging"`, `branch = "release/1"`), map[string]string{
			"deploy shop": notNightly + `if $CI_COMMIT_BRANCH == "release/1" | <nil> | staging  | staging | map[]`}},
		"a branch with quotation marks": {renderDeployment("shop", onWeb1, ofGroup, `environment = "staging"`, `branch = 'say"yes"'`), map[string]string{
			"deploy shop": notNightly + `if $CI_COMMIT_BRANCH == 'say"yes"' | <nil> | staging  | staging | map[]`}},
		"no environment": {renderDeployment("shop", onWeb1, ofGroup), map[string]string{
			"deploy shop": onDefault + ` | <nil> |   | shop | map[]`}},
		"a prefix": {renderDeployment("shop", onWeb1, `variables = { group = "acme", prefix = "SHOP_" }`), map[string]string{
			"deploy shop": onDefault + ` | <nil> |   | shop | map[PROVISION_PREFIX:SHOP_]`}},
		"projects": {renderDeployment("shop", onWeb1, `variables = { projects = ["acme/b", "acme/a"] }`) +
			renderDeployment("blog", onWeb1, `variables = { projects = ["acme/a", "acme/b"] }`, `environment = "blog"`), map[string]string{
			"deploy shop": onDefault + ` | <nil> |   | shop | map[]`,
			"deploy blog": onDefault + ` | <nil> | blog  | blog | map[]`}},
		"several hosts": {renderDeployment("shop", `hosts = ["web2", "web1"]`, ofGroup, `environment = "production"`), map[string]string{
			"deploy shop": onDefault + ` | map[matrix:[map[PROVISION_ENVIRONMENT:[production/web2 production/web1]]]] | $PROVISION_ENVIRONMENT  | $PROVISION_ENVIRONMENT | map[]`}},
		"several of one": {renderDeployment("shop", `hosts = ["web2"]`, ofGroup, `environment = "production"`), map[string]string{
			"deploy shop": onDefault + ` | map[matrix:[map[PROVISION_ENVIRONMENT:[production/web2]]]] | $PROVISION_ENVIRONMENT  | $PROVISION_ENVIRONMENT | map[]`}},
		"more hosts than GitLab takes": {hosts.String() + renderDeployment("shop", "hosts = ["+strings.Join(many, ",")+"]", ofGroup, `environment = "live"`), map[string]string{
			"deploy shop":   onDefault + ` | map[matrix:[map[PROVISION_ENVIRONMENT:[` + strings.Join(chunks[:200], " ") + `]]]] | $PROVISION_ENVIRONMENT  | $PROVISION_ENVIRONMENT | map[]`,
			"deploy shop 2": onDefault + ` | map[matrix:[map[PROVISION_ENVIRONMENT:[live/h200]]]] | $PROVISION_ENVIRONMENT  | $PROVISION_ENVIRONMENT | map[]`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, jobs, text := renderJobs(t, c.inventory)
			base := jobs[".provision deploy"]
			delete(jobs, ".provision deploy")
			got := map[string]string{}
			for name, j := range jobs {
				got[name] = describeJob(j)
				if j.Extends != ".provision deploy" || j.Script+j.BeforeScript != "" {
					t.Errorf("%s is more than it should be: %+v", name, j)
				}
			}
			for name := range merged(got, c.want) {
				if got[name] != c.want[name] {
					t.Errorf("%s\n got %s\nwant %s", name, got[name], c.want[name])
				}
			}
			if base.Image != "docker:cli" || base.Stage != "deploy" || base.Needs != nil || *base.Interruptible || len(*base.Cache)+len(*base.Dependencies) != 0 ||
				base.Variables["GIT_STRATEGY"] != "none" || base.Environment != nil || base.Parallel != nil {
				t.Errorf("what the jobs have in common: %+v", base)
			}
			if strings.Contains(base.Script, "shop") || strings.Contains(base.BeforeScript, "SHOP_") {
				t.Errorf("a name is in a script:\n%s", text)
			}
			if !strings.Contains(base.Script, ` -F "$files/config" `) {
				t.Errorf("ssh runs with what else is configured:\n%s", base.Script)
			}
			for _, option := range []string{"StrictHostKeyChecking yes", "BatchMode yes", "IdentitiesOnly yes", "IdentityAgent none", "UpdateHostKeys no",
				`UserKnownHostsFile "$files/known_hosts"`, "GlobalKnownHostsFile /dev/null"} {
				if !strings.Contains(base.BeforeScript, "\n"+option+"\n") {
					t.Errorf("ssh runs without %s:\n%s", option, base.BeforeScript)
				}
			}
			if strings.Contains(base.BeforeScript+base.Script, "~") || strings.Contains(base.BeforeScript+base.Script, "HOME") {
				t.Errorf("a home directory is in a script:\n%s", text)
			}
		})
	}
}

// Of a rolling deploy each host has a job, whose name stays as hosts come and go, and
// which needs the one before it.
func TestRenderRolling(t *testing.T) {
	deployments := renderDeployment("shop", `hosts = ["web2", "web1"]`, `variables = { group = "acme", prefix = "SHOP_" }`, `environment = "production"`) +
		renderDeployment("blog", `hosts = ["web1"]`, ofGroup, `environment = "blog"`) + renderDeployment("wiki", onWeb1, ofGroup, `environment = "wiki"`) +
		renderDeployment("bare", onWeb1, ofGroup)
	for args, prefix := range map[string]string{"": "", "--component": "$[[ inputs.job-prefix ]]"} {
		_, jobs, text := renderJobs(t, deployments, append([]string{"--rolling"}, strings.Fields(args)...)...)
		got := map[string]string{}
		for name, j := range jobs {
			if !strings.HasPrefix(name, ".") {
				got[strings.TrimPrefix(name, prefix)] = fmt.Sprint(j.Needs, " | ", describeJob(j))
			}
		}
		want := map[string]string{
			"deploy shop web2": "<nil> | " + onDefault + " | <nil> | production/web2  | production/web2 | map[PROVISION_PREFIX:SHOP_]",
			"deploy shop web1": "[" + prefix + "deploy shop web2] | " + onDefault + " | <nil> | production/web1  | production/web1 | map[PROVISION_PREFIX:SHOP_]",
			"deploy blog web1": "<nil> | " + onDefault + " | <nil> | blog/web1  | blog/web1 | map[]",
			"deploy wiki":      "<nil> | " + onDefault + " | <nil> | wiki  | wiki | map[]",
			"deploy bare":      "<nil> | " + onDefault + " | <nil> |   | bare | map[]",
		}
		for name := range merged(got, want) {
			if got[name] != want[name] {
				t.Errorf("%s: %s\n got %s\nwant %s", args, name, got[name], want[name])
			}
		}
		if args == "" && !strings.Contains(text, "#   deploy shop web2:\n#     needs: [publish docker]\n") {
			t.Errorf("what the first job waits for is written under another name:\n%s", text)
		}
	}
}

func merged(maps ...map[string]string) map[string]bool {
	all := map[string]bool{}
	for _, m := range maps {
		for key := range m {
			all[key] = true
		}
	}
	return all
}

// What YAML could take for something else stays a string.
func TestRenderQuotes(t *testing.T) {
	for _, name := range []string{"on", "yes", "null", "123", "0x10", "1e3", "2001.01", "-", "a b", "{x}", "...", "12 - 3", "true/false", "{"} {
		_, jobs, text := renderJobs(t, renderDeployment("shop", `hosts = ["web1", "web2"]`, ofGroup, `environment = "`+name+`"`)+
			renderDeployment("on", onWeb1, `variables = { group = "acme", prefix = "NULL" }`, `environment = "`+name+`"`, `branch = "null"`))
		var raw map[string]map[string]any
		if err := yaml.Unmarshal([]byte(text), &raw); err != nil {
			t.Fatal(err)
		}
		for _, got := range []any{
			raw["deploy on"]["environment"].(map[string]any)["name"], raw["deploy on"]["resource_group"],
			strings.TrimSuffix(fmt.Sprint(raw["deploy shop"]["parallel"].(map[string]any)["matrix"].([]any)[0].(map[string]any)["PROVISION_ENVIRONMENT"].([]any)[1]), "/web2"),
		} {
			if got != any(name) {
				t.Errorf("the environment %q became %#v", name, got)
			}
		}
		if j := jobs["deploy on"]; j.Variables["PROVISION_PREFIX"] != "NULL" || j.Rules[1]["if"] != `$CI_COMMIT_BRANCH == "null"` {
			t.Errorf("%+v", j)
		}
	}
}

// A component is complete: each input that it speaks of is declared, and each
// that is declared has a use.
func TestRenderComponent(t *testing.T) {
	deployments := renderDeployment("shop", onWeb1, ofGroup, `environment = "production"`) + renderDeployment("blog", onWeb1, ofGroup)
	for _, c := range []struct {
		args      string
		mandatory []string
		jobs      []string
	}{
		{"", []string{"needs"}, []string{"deploy blog", "deploy shop"}},
		{"--image example/ssh", []string{"needs"}, []string{"deploy blog", "deploy shop"}},
		{"--verify", []string{"image"}, []string{"verify blog", "verify shop"}},
		{"--verify --image example/provision", nil, []string{"verify blog", "verify shop"}},
		{"--verify --parallel 3", []string{"image"}, []string{"verify"}},
	} {
		header, jobs, text := renderJobs(t, deployments, strings.Fields("--component "+c.args)...)
		inputs := header["spec"].(map[string]any)["inputs"].(map[string]any)
		_, body, _ := strings.Cut(text, "\n---\n")
		used := map[string]bool{}
		for _, m := range regexp.MustCompile(`\$\[\[ inputs\.([a-z-]+) \]\]`).FindAllStringSubmatch(body, -1) {
			used[m[1]] = true
			if inputs[m[1]] == nil {
				t.Errorf("%s: the input %s is not declared", c.args, m[1])
			}
		}
		var mandatory []string
		for name, input := range inputs {
			if !used[name] {
				t.Errorf("%s: the input %s has no use", c.args, name)
			}
			if _, ok := input.(map[string]any)["default"]; !ok {
				mandatory = append(mandatory, name)
			}
		}
		if !slices.Equal(mandatory, c.mandatory) {
			t.Errorf("%s: mandatory are %q, want %q", c.args, mandatory, c.mandatory)
		}
		var names []string
		for name, j := range jobs {
			if !strings.HasPrefix(name, ".") {
				names = append(names, strings.TrimPrefix(name, "$[[ inputs.job-prefix ]]"))
				if j.Extends != "" && jobs[j.Extends].Script == "" {
					t.Errorf("%s: %s extends %s, which is not there", c.args, name, j.Extends)
				}
			}
		}
		if slices.Sort(names); !slices.Equal(names, c.jobs) {
			t.Errorf("%s: jobs are %q, want %q", c.args, names, c.jobs)
		}
	}
}

func TestRenderVerifyJobs(t *testing.T) {
	deployments := renderDeployment("shop", `hosts = ["web1", "web2"]`, `variables = { group = "acme", prefix = "SHOP_" }`, `environment = "production"`) +
		renderDeployment("blog", onWeb1, ofGroup, `environment = "production"`) + renderDeployment("wiki", onWeb1, ofGroup)
	const nightly = `if $CI_PIPELINE_SOURCE == "schedule" | `
	for args, want := range map[string]map[string]string{
		"--image example/provision": {
			".provision verify": nightly + "<nil> |   |  | map[PROVISION_INVENTORY:fleet/inventory.toml]",
			"verify shop":       " | map[matrix:[map[PROVISION_ENVIRONMENT:[production/web1 production/web2]]]] | $PROVISION_ENVIRONMENT verify |  | map[PROVISION_PREFIX:SHOP_]",
			"verify blog":       " | <nil> | production verify |  | map[PROVISION_DEPLOYMENT:blog]",
			"verify wiki":       " | <nil> |   |  | map[PROVISION_DEPLOYMENT:wiki]",
		},
		"--image example/provision --host web1 --deployment shop": {
			".provision verify": nightly + "<nil> |   |  | map[PROVISION_INVENTORY:fleet/inventory.toml]",
			"verify shop":       " | map[matrix:[map[PROVISION_ENVIRONMENT:[production/web1]]]] | $PROVISION_ENVIRONMENT verify |  | map[PROVISION_PREFIX:SHOP_]",
		},
		"--image example/provision --parallel 3": {"verify": nightly + "3 |   |  | map[PROVISION_INVENTORY:fleet/inventory.toml]"},
		"--image example/provision --parallel 1": {"verify": nightly + "<nil> |   |  | map[PROVISION_INVENTORY:fleet/inventory.toml]"},
	} {
		_, jobs, _ := renderJobs(t, deployments, append([]string{"--verify"}, strings.Fields(args)...)...)
		got := map[string]string{}
		for name, j := range jobs {
			got[name] = describeJob(j)
			if j.Script != "" && (j.Image != "example/provision" || j.Artifacts.When != "always" || j.Artifacts.Reports["junit"] != "verify.xml" || !strings.Contains(j.Script, "--junit verify.xml")) {
				t.Errorf("%s: %s: %+v", args, name, j)
			}
			if a := j.Artifacts; j.Script != "" && (a.ExposeAs != "provision verify" || !slices.Equal(a.Paths, []string{"verify.html"}) || a.Access != "developer" || !strings.Contains(j.Script, "--html verify.html")) {
				t.Errorf("%s: %s: %+v", args, name, j)
			}
		}
		for name := range merged(got, want) {
			if got[name] != want[name] {
				t.Errorf("%s: %s\n got %s\nwant %s", args, name, got[name], want[name])
			}
		}
	}
}

// Where a file is for decides what is in it.
func TestRenderIn(t *testing.T) {
	deployments := renderDeployment("shop", onWeb1, `variables = { group = "Acme" }`, `environment = "a"`) +
		renderDeployment("blog", onWeb1, `variables = { group = "acme/below" }`, `environment = "b"`) +
		renderDeployment("wiki", onWeb1, `variables = { projects = ["acme/wiki", "other/wiki"] }`, `environment = "c"`) +
		renderDeployment("bare", onWeb1, `variables = { projects = ["acme/wiki"] }`, `environment = "d"`)
	for where, want := range map[string]string{
		"acme":               "shop",
		"acme/below":         "blog shop",
		"acme/below/project": "blog shop",
		"ACME/Below/Project": "blog shop",
		"acme/wiki":          "bare shop wiki",
		"other/wiki":         "wiki",
		"acme/belowground":   "shop",
	} {
		_, jobs, _ := renderJobs(t, deployments, "--in", where)
		var names []string
		for name := range jobs {
			if rest, ok := strings.CutPrefix(name, "deploy "); ok {
				names = append(names, rest)
			}
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != want {
			t.Errorf("in %s are %q, want %q", where, got, want)
		}
	}
}
