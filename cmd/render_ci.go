package cmd

import (
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"provision/inventory"
	"provision/provision/hint"
	"provision/templates"
)

// maxParallel is how many jobs GitLab makes of one, with parallel as with
// parallel:matrix: https://docs.gitlab.com/ci/yaml/#parallel
const maxParallel = 200

// A matrix variable with a name of ours, as one of a project would go before
// it. Where there is one, it is the environment.
const environmentVariable = "PROVISION_ENVIRONMENT"

const (
	deployComment = `The deploy jobs of an inventory, printed by "provision render ci".

For the .gitlab-ci.yml of projects that see the variables of
%s:
include it there, or paste it.
These are protected: the jobs work on protected branches only.
`
	deployNeeds = `
What a project adds to a job, it writes under the same name, as what the job
has to wait for:

  %s:
    needs: [publish docker]
`
	rollingOrder = `
The hosts of a deployment come one after the other: each job needs the one before
it, and is left out where that one has failed. Add no needs to any but the first.
`
	deployOrder = `
Of the jobs for one environment one runs at a time. Scheduled pipelines deploy
nothing.`

	verifyComment = `The jobs that verify an inventory every night, printed by "provision render ci
--verify". They run in scheduled pipelines of a protected branch, in a project
that has the inventory and sees the variables of
%s.

There is one job for each environment, since none sees another one's key, and
none needs a token. With a token that may read the variables, a few jobs can do
the whole fleet, see --parallel; but such a token reads every CI key.`

	fleetComment = `The jobs that verify an inventory every night, printed by "provision render ci
--verify --parallel". They run in scheduled pipelines of a protected branch, in
a project that has the inventory.

Each does its part of the hosts, with the CI keys that GitLab has. For that
they need the token of the inventory, as a variable that is protected and
masked. Without such a token use what "provision render ci --verify" prints: one
job for each environment, with the one key that it sees.`
)

// renderCI prints the jobs of CI for some deployments.
func renderCI(w io.Writer, file string, deployments []*inventory.Deployment, o ciOptions) error {
	if o.verify && o.image == "" && !o.component {
		return hint.Add(usagef("which image has provision in it?"), "give --image registry.example.com/tools/provision, or --component to leave it to those who include it")
	}
	if o.image == "" && !o.verify {
		o.image = "docker:cli"
	}
	if !filepath.IsLocal(file) { // it has another path in a project
		file = filepath.Base(file)
	}
	c := ciFile{ciOptions: o, inventory: filepath.ToSlash(file)}
	if o.parallel > 0 {
		return c.write(w, fleetComment, c.fleetJob())
	}
	deployments, owner, err := seen(deployments, o.where)
	if err != nil {
		return err
	}
	jobs, err := c.jobs(deployments)
	if err != nil {
		return err
	}
	if o.verify {
		return c.write(w, fmt.Sprintf(verifyComment, owner), jobs)
	}
	comment := fmt.Sprintf(deployComment, owner)
	if !o.component { // there it is an input
		comment += fmt.Sprintf(deployNeeds, c.nameOf(deployments[0]))
	}
	if o.rolling {
		comment += rollingOrder
	}
	return c.write(w, comment+deployOrder, jobs)
}

// seen returns the deployments whose variables are seen in a project or all
// projects of a group, and who owns these. Without that path, all must be seen
// in the same projects.
func seen(deployments []*inventory.Deployment, where string) ([]*inventory.Deployment, string, error) {
	owner := func(d *inventory.Deployment) string {
		if d.Variables.Group != "" {
			return "the group " + d.Variables.Group
		}
		return "the project " + strings.Join(slices.Sorted(slices.Values(d.Variables.Projects)), " and the project ")
	}
	if where == "" {
		first := owner(deployments[0])
		for _, d := range deployments {
			if other := owner(d); !strings.EqualFold(other, first) {
				return nil, "", hint.Add(usagef("one file does not fit all: %s has its variables in %s, and %s in %s", deployments[0].Name, first, d.Name, other), "say where the file is for, as --in %s, or choose with --deployment", cmp.Or(d.Variables.Group, d.Project))
			}
		}
		return deployments, first, nil
	}
	chosen := slices.DeleteFunc(slices.Clone(deployments), func(d *inventory.Deployment) bool {
		if d.Variables.Group == "" {
			return !slices.ContainsFunc(d.Variables.Projects, func(p string) bool { return strings.EqualFold(p, where) })
		}
		return !strings.HasPrefix(strings.ToLower(where)+"/", strings.ToLower(d.Variables.Group)+"/")
	})
	if len(chosen) == 0 {
		return nil, "", hint.Add(usagef("no variables are seen in %q", where), "they are in %s", owner(deployments[0]))
	}
	return chosen, where, nil
}

// A ciFile is YAML for GitLab.
type ciFile struct {
	ciOptions
	inventory string // in the project
}

// name returns the name of the job for a deployment.
func (c ciFile) name(deployment string) string {
	if c.verify {
		return c.prefix() + "verify " + deployment
	}
	return c.prefix() + "deploy " + deployment
}

// nameOf returns the name of the first job for a deployment, or of the one for its
// host where each has its own.
func (c ciFile) nameOf(d *inventory.Deployment) string {
	if c.rolling && d.Listed() {
		return c.name(d.Name) + " " + d.Host.Name
	}
	return c.name(d.Name)
}

// base returns the name of what all jobs have in common.
func (c ciFile) base() string {
	if c.verify {
		return "." + c.prefix() + "provision verify"
	}
	return "." + c.prefix() + "provision deploy"
}

func (c ciFile) prefix() string {
	if c.component {
		return "$[[ inputs.job-prefix ]]"
	}
	return ""
}

// or returns the reference to an input in a component, and else a value.
func (c ciFile) or(input, value string) string {
	if c.component {
		return "$[[ inputs." + input + " ]]"
	}
	return value
}

var nightly = yamlList(yamlMap("if", `$CI_PIPELINE_SOURCE == "schedule"`))

// What verify found is for those who may see how the hosts are set up. A path
// with ./ before it, or a pattern, would not be exposed.
var verifyArtifacts = yamlMap(
	"when", "always", "access", "developer",
	"expose_as", "provision verify", "paths", yamlList("verify.html"),
	"reports", yamlMap("junit", "verify.xml"),
)

// jobs returns one job for each deployment, with one run for each of its hosts,
// and what they have in common. Of a rolling deploy each host has a job of its own,
// which needs the one before it.
func (c ciFile) jobs(deployments []*inventory.Deployment) (*yaml.Node, error) {
	var jobs []any
	if c.verify {
		jobs = append(jobs, c.base(), yamlMap(
			"stage", c.or("stage", "test"), "image", c.or("image", c.image), "cache", yamlList(),
			"rules", nightly,
			"variables", yamlMap("PROVISION_INVENTORY", c.or("inventory", c.inventory)),
			"before_script", templates.CIVariables, "script", templates.CIVerify, "artifacts", verifyArtifacts,
		))
	} else {
		base := yamlMap("stage", c.or("stage", "deploy"), "image", c.or("image", c.image), "cache", yamlList())
		if c.component {
			yamlAdd(base, "needs", c.or("needs", ""))
		}
		yamlAdd(base,
			"dependencies", yamlList(), "interruptible", false, "variables", yamlMap("GIT_STRATEGY", "none"),
			"before_script", templates.CIBefore, "script", templates.CIDeploy,
		)
		jobs = append(jobs, c.base(), base)
	}
	var names []string
	hosts := map[string][]*inventory.Deployment{}
	for _, d := range deployments {
		if hosts[d.Name] == nil {
			names = append(names, d.Name)
		}
		hosts[d.Name] = append(hosts[d.Name], d)
	}
	most := maxParallel
	if c.rolling {
		most = 1
	}
	for _, name := range names {
		part, before := 0, ""
		for some := range slices.Chunk(hosts[name], most) {
			job, err := c.job(some)
			if err != nil {
				return nil, fmt.Errorf("deployments.%s: %w", name, err)
			}
			full := c.nameOf(some[0])
			part++
			switch {
			case before != "":
				yamlAdd(job, "needs", yamlList(before))
			case part > 1:
				full += fmt.Sprintf(" %d", part)
			}
			if c.rolling {
				before = full
			}
			jobs = append(jobs, full, job)
		}
	}
	return yamlMap(jobs...), nil
}

// job returns the job for one deployment, which may have several hosts.
func (c ciFile) job(hosts []*inventory.Deployment) (*yaml.Node, error) {
	d := hosts[0]
	if strings.Contains(d.Environment, "$") {
		return nil, hint.Add(usagef("the environment %q has a $, which GitLab would fill in for the job and not for its variables", d.Environment), "write an environment without it")
	}
	job := yamlMap("extends", c.base())
	var variables []any
	if d.Variables.Prefix != "" {
		variables = append(variables, "PROVISION_PREFIX", d.Variables.Prefix)
	}
	several := d.Listed() && !c.rolling
	if c.verify && !several {
		variables = append(variables, "PROVISION_DEPLOYMENT", d.Name) // else the environment tells
	}
	if variables != nil {
		yamlAdd(job, "variables", yamlMap(variables...))
	}
	if !c.verify {
		rules, err := deployRules(d.Branch)
		if err != nil {
			return nil, err
		}
		yamlAdd(job, "rules", rules)
	}
	environment, group := d.Environment, d.Environment
	switch {
	case several:
		environment, group = "$"+environmentVariable, "$"+environmentVariable
		scopes := yamlList()
		for _, d := range hosts {
			scopes.Content = append(scopes.Content, yamlValue(d.Scope))
		}
		yamlAdd(job, "parallel", yamlMap("matrix", yamlList(yamlMap(environmentVariable, scopes))))
	case environment == "":
		group = d.Name
	case d.Listed():
		environment, group = d.Scope, d.Scope
	}
	if environment != "" && c.verify {
		yamlAdd(job, "environment", yamlMap("name", environment, "action", "verify"))
	} else if environment != "" {
		yamlAdd(job, "environment", yamlMap("name", environment))
	}
	if !c.verify {
		yamlAdd(job, "resource_group", group)
	}
	return job, nil
}

// deployRules lets a job into pipelines of one branch, "" being the default
// branch, but not into those that verify.
func deployRules(branch string) (*yaml.Node, error) {
	want := "$CI_DEFAULT_BRANCH"
	switch {
	case branch == "":
	case !strings.Contains(branch, `"`):
		want = `"` + branch + `"`
	case !strings.Contains(branch, "'"):
		want = "'" + branch + "'"
	default:
		return nil, usagef("the branch %s has quotation marks of both kinds, which rules of GitLab cannot have", branch)
	}
	return yamlList(
		yamlMap("if", `$CI_PIPELINE_SOURCE == "schedule"`, "when", "never"),
		yamlMap("if", "$CI_COMMIT_BRANCH == "+want),
	), nil
}

// fleetJob returns the job that verifies all deployments.
func (c ciFile) fleetJob() *yaml.Node {
	job := yamlMap("stage", c.or("stage", "test"), "image", c.or("image", c.image), "cache", yamlList(), "rules", nightly)
	if c.parallel > 1 {
		yamlAdd(job, "parallel", c.parallel)
	}
	return yamlMap(c.prefix()+"verify", yamlAdd(job,
		"variables", yamlMap("PROVISION_INVENTORY", c.or("inventory", c.inventory)), "script", templates.CIVerifyFleet, "artifacts", verifyArtifacts))
}

// inputs returns the header of a component:
// https://docs.gitlab.com/ci/inputs/
func (c ciFile) inputs() *yaml.Node {
	image := yamlMap("description", "where the jobs run")
	if c.verify {
		image = yamlMap("description", "where the jobs run; provision is in it")
	}
	if c.image != "" {
		yamlAdd(image, "default", c.image)
	}
	inputs := yamlMap("stage", yamlMap("default", "deploy"))
	if c.verify {
		inputs = yamlMap("stage", yamlMap("default", "test"))
	}
	yamlAdd(inputs, "job-prefix", yamlMap("default", "", "description", "stands before the names of the jobs"), "image", image)
	if c.verify {
		yamlAdd(inputs, "inventory", yamlMap("default", c.inventory, "description", "the path of the inventory in the project"))
	} else {
		yamlAdd(inputs, "needs", yamlMap("type", "array", "description", "the jobs that publish the images"))
	}
	return yamlMap("spec", yamlMap("inputs", inputs))
}

// write writes the file with a comment at its head, and an empty line between
// the jobs.
func (c ciFile) write(w io.Writer, comment string, jobs *yaml.Node) error {
	for line := range strings.Lines(comment) {
		fmt.Fprintln(w, strings.TrimSpace("# "+strings.TrimRight(line, "\n")))
	}
	if c.component {
		if err := writeYAML(w, c.inputs()); err != nil {
			return err
		}
		fmt.Fprintln(w, "---")
	}
	for i := 0; i < len(jobs.Content); i += 2 {
		if i > 0 || !c.component {
			fmt.Fprintln(w)
		}
		if err := writeYAML(w, yamlMap(jobs.Content[i], jobs.Content[i+1])); err != nil {
			return err
		}
	}
	return nil
}
