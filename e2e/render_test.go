package e2e_test

import (
	"encoding/json"
	"maps"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"provision/e2e/rehearsal"
)

// Three deployments of a group: one host, two hosts with a prefix and an
// environment that YAML could misread, and a project's own without one.
const rendered = head + web1 + web2 + app + withOverride + `
[deployments.tool]
hosts = ["web1", "web2"]
project = "transmogrify/tool"
user = "deploy-tool"
directory = "tool"
environment = "on call"
branch = "dev"
variables = { group = "transmogrify", prefix = "TOOL_" }
[deployments.side]
host = "web2"
project = "transmogrify/side"
user = "deploy-side"
directory = "side"
variables = { projects = ["transmogrify/side"], prefix = "SIDE_" }
`

// A rendered job, and where GitLab runs it.
type renderedJob struct {
	Extends      string
	Environment  struct{ Name string }
	Parallel     any
	Variables    map[string]string
	BeforeScript string `yaml:"before_script"`
	Script       string
}

// renderJobs renders, and returns the jobs that GitLab makes of that, by name:
// with what they extend, one for each element of a matrix, and all inputs of a
// component filled in.
func renderJobs(t *testing.T, w *world, inputs map[string]string, args ...string) map[string]rehearsal.Job {
	t.Helper()
	text := w.run(t, append([]string{"render", "ci"}, args...)...).exits(t, 0).out
	if inputs != nil {
		_, text, _ = strings.Cut(text, "\n---\n")
		text = regexp.MustCompile(`\$\[\[ inputs\.([a-z-]+) \]\]`).ReplaceAllStringFunc(text, func(ref string) string {
			return inputs[strings.TrimSuffix(strings.TrimPrefix(ref, "$[[ inputs."), " ]]")]
		})
	}
	var all map[string]renderedJob
	if err := yaml.Unmarshal([]byte(text), &all); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	jobs := map[string]rehearsal.Job{}
	for name, j := range all {
		if strings.HasPrefix(name, ".") {
			continue
		}
		base := all[j.Extends]
		variables := map[string]string{}
		maps.Copy(variables, base.Variables)
		maps.Copy(variables, j.Variables)
		body := base.BeforeScript + base.Script + j.BeforeScript + j.Script
		if body == "" {
			t.Fatalf("%s has no script:\n%s", name, text)
		}
		scopes := []string{""}
		if p, ok := j.Parallel.(map[string]any); ok {
			scopes = nil
			for _, scope := range p["matrix"].([]any)[0].(map[string]any)["PROVISION_ENVIRONMENT"].([]any) {
				scopes = append(scopes, scope.(string))
			}
		}
		for i, scope := range scopes {
			own := maps.Clone(variables)
			full, environment := name, j.Environment.Name
			if scope != "" { // GitLab numbers these as it does those of parallel: N
				full += ": [" + scope + "]"
				own["PROVISION_ENVIRONMENT"], own["CI_NODE_INDEX"], own["CI_NODE_TOTAL"] = scope, string(rune('1'+i)), string(rune('0'+len(scopes)))
				environment = os.Expand(environment, func(name string) string { return own[name] })
			}
			own["BODY"] = body
			// As a runner runs it, in the shell of the image docker:cli.
			jobs[full] = rehearsal.Job{In: "transmogrify/side", Environment: environment, Variables: own, Script: `exec busybox sh -e -o pipefail -c "$BODY" </dev/null`}
		}
	}
	return jobs
}

func TestRenderDeploys(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rendered)
	w.apply(t)
	jobs := renderJobs(t, w, nil, "--in", "transmogrify/side")
	component := renderJobs(t, w, map[string]string{"stage": "deploy", "image": "docker:cli", "needs": "[]", "job-prefix": "my "}, "--in", "transmogrify/side", "--component")
	if len(jobs) != 4 || len(component) != 4 {
		t.Fatalf("4 jobs are wanted: %v, %v", jobs, component)
	}

	// Each job deploys what it is for, and nothing else.
	running := map[string]string{}
	for _, d := range w.Inventory.Deployments {
		running[d.Name+"@"+d.Host.Name] = "1"
	}
	check := func(job string) {
		t.Helper()
		for _, d := range w.Inventory.Deployments {
			got, err := w.Version(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			if want := running[d.Name+"@"+d.Host.Name]; got != want {
				t.Errorf("after %s, %s on %s runs version %q, want %q", job, d.Name, d.Host.Name, got, want)
			}
		}
	}
	deploys := map[string]string{
		"deploy app": "app@web1", "deploy tool: [on call/web1]": "tool@web1", "deploy tool: [on call/web2]": "tool@web2", "deploy side": "side@web2",
	}
	for i, round := range []map[string]rehearsal.Job{jobs, component} {
		version := string(rune('2' + i))
		for _, name := range []string{"app", "tool", "side"} {
			w.push(t, name, version)
		}
		for name, what := range deploys {
			job, ok := round[[]string{"", "my "}[i]+name]
			if !ok {
				t.Fatalf("there is no job %s in %v", name, round)
			}
			if out, err := w.Run(t.Context(), job); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, out)
			}
			running[what] = version
			check(name)
		}
	}

	// A job without its variables says so, and one that meets another host
	// goes no further.
	lost := jobs["deploy app"]
	lost.Environment = "staging"
	if out, err := w.Run(t.Context(), lost); err == nil || !strings.Contains(err.Error(), "this job has no variable SSH_AUTH for the environment staging: is the branch protected") {
		t.Errorf("a job in another environment: %v\n%s", err, out)
	}
	w.push(t, "tool", "9")
	known := w.variable(t, "transmogrify", "TOOL_SSH_KNOWN_HOSTS", "on call/web1")
	other := regexp.MustCompile(`(?m)^(\S+ ssh-ed25519) .*$`).ReplaceAllString(known, "$1 AAAAC3NzaC1lZDI1NTE5AAAAIC5pD8xXmTv2s5o8jrefxD4xScp82SkYM9QBPp/kMnm0")
	other = regexp.MustCompile(`(?m)^\S+ (ssh-rsa|ecdsa-\S+) .*\n`).ReplaceAllString(other, "")
	for _, text := range []string{other, "# nobody\n"} {
		w.setVariable(t, "TOOL_SSH_KNOWN_HOSTS", "on call/web1", text)
		if out, err := w.Run(t.Context(), jobs["deploy tool: [on call/web1]"]); err == nil || !strings.Contains(err.Error(), "Host key verification failed") {
			t.Errorf("a host with another key: %v\n%s", err, out)
		}
	}
	check("a host with another key")
}

// The jobs that verify look at what they are for, however many they are.
func TestRenderVerifies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rendered)
	w.apply(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	inventory := w.typed(t)[1]
	run := func(name string, job rehearsal.Job) (class string) {
		t.Helper()
		job.Variables["PROVISION_INVENTORY"], job.Variables["PROGRAM"] = inventory, self
		job.Variables["BODY"] = "provision() { " + programVariable + "=yes \"$PROGRAM\" \"$@\"; }\n" + job.Variables["BODY"] + "grep -q '</html>' verify.html && cat verify.xml\n"
		out, err := w.Run(t.Context(), job)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		seen := map[string]bool{}
		for _, m := range regexp.MustCompile(`classname="([^"]+)"`).FindAllStringSubmatch(out, -1) {
			seen[m[1]] = true
		}
		for c := range seen {
			class += c
		}
		return class
	}
	looks := map[string]string{
		"verify app": "web1.app", "verify tool: [on call/web1]": "web1.tool", "verify tool: [on call/web2]": "web2.tool", "verify side": "web2.side",
	}
	jobs := renderJobs(t, w, nil, "--in", "transmogrify/side", "--verify", "--image", "example/provision")
	if len(jobs) != len(looks) {
		t.Errorf("jobs: %v", jobs)
	}
	for name, job := range jobs {
		if got := run(name, job); got != looks[name] {
			t.Errorf("%s looks at %q, want %q", name, got, looks[name])
		}
	}

	part := renderJobs(t, w, nil, "--verify", "--image", "example/provision", "--parallel", "2")["verify"]
	body := part.Variables["BODY"]
	for index, host := range map[string]string{"1": "web1.", "2": "web2."} {
		part.Variables["CI_NODE_INDEX"], part.Variables["CI_NODE_TOTAL"], part.Variables["BODY"] = index, "2", body
		for class := range strings.SplitSeq(strings.ReplaceAll(run("verify "+index+"/2", part), "web", " web"), " ") {
			if class != "" && !strings.HasPrefix(class, host) {
				t.Errorf("part %s of 2 looks at %s", index, class)
			}
		}
	}
}

// What is rendered is what is there after an apply.
func TestRenderIsWhatApplyWrites(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rendered)
	w.apply(t)
	for args, file := range map[string]string{
		"override --deployment app":                    `cat ~deploy-user/frobnicator/compose.override.yaml`,
		"authorized-key --deployment app":              `sed -n 's/SHA256:[^"]*"/SHA256:FINGERPRINT"/; s/ssh-ed25519 [^ ]*/ssh-ed25519 PUBLIC-KEY/; /^restrict/p' ~deploy-user/.ssh/authorized_keys`,
		"config --deployment app":                      `sed 's/"auth": ".*"/"auth": "base64 of provision-ID:TOKEN"/' ~deploy-user/.docker/config.json`,
		"gate --deployment tool --host web1":           `cd /usr/local/lib/provision; printf '==> %s <==\n' "$PWD/gate"; cat gate; printf '\n==> %s <==\n' "$PWD/deploy"; cat deploy; printf '\n==> %s <==\n' 'web1: /etc/provision/deployments/tool'; cat /etc/provision/deployments/tool`,
		"authorized-key --deployment tool --host web1": `sed -n 's/SHA256:[^"]*"/SHA256:FINGERPRINT"/; s/ssh-ed25519 [^ ]*/ssh-ed25519 PUBLIC-KEY/; /^restrict/p' ~deploy-tool/.ssh/authorized_keys`,
	} {
		got := strings.TrimSuffix(w.run(t, append([]string{"render"}, strings.Fields(args)...)...).exits(t, 0).out, "\n")
		if there := w.sh(t, "web1", file); got != there || got == "" {
			t.Errorf("render %s\n prints %s\nthere is %s", args, got, there)
		}
	}
	auth := w.sh(t, "web1", `sed -n 's/.*"auth": "\(.*\)"/\1/p' ~deploy-user/.docker/config.json | base64 -d`)
	if !regexp.MustCompile(`^provision-[0-9]+:\S+$`).MatchString(auth) {
		t.Error("the login is not what render config says it is")
	}
}

// setVariable changes the value of a variable of the group.
func (w *world) setVariable(t *testing.T, key, scope, value string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"value": value})
	if err != nil {
		t.Fatal(err)
	}
	filter := url.Values{"filter[environment_scope]": {scope}}
	w.api(t, "PUT", "/groups/transmogrify/variables/"+key+"?"+filter.Encode(), string(body))
}
