package cmd

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"provision/cmd/usage"
	"provision/inventory"
	"provision/provision/hint"
	"provision/steps"
)

type renderOptions struct {
	what        string
	inventory   string
	inCI        string // the same, as jobs of CI name it
	deployments []string
	hosts       []string
	ci          ciOptions
}

// ciOptions are those of render ci.
type ciOptions struct {
	where     string // a group or project; "": wherever the variables of all are seen
	component bool
	rolling   bool // one host of a deployment after the other
	verify    bool
	image     string
	parallel  int // 0: one verify job for each environment
}

func renderCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "render",
		Usage:     "print the jobs for CI, or what apply would put on a host",
		UsageText: "provision render [flags] ci|gate|override|authorized-key|config [INVENTORY]",
		Description: "Reads the inventory and nothing else: neither a host nor GitLab is asked.\n\n" +
			"  ci              the deploy jobs, to include in .gitlab-ci.yml\n" +
			"  gate            the program that a CI key runs, and what it knows\n" +
			"  override        compose.override.yaml, filled in\n" +
			"  authorized-key  the line that lets a CI key in; the key itself is made by apply\n" +
			"  config          config.json of docker, with the login to the registry",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "deployment", Usage: "`DEPLOYMENT`: only this one; may be repeated"},
			&cli.StringSliceFlag{Name: "host", Usage: "`HOST`: only this one; may be repeated"},
			&cli.StringFlag{Name: "in", Usage: "`OWNER`: ci: only deployments whose variables are seen in this group or project"},
			&cli.BoolFlag{Name: "component", Usage: "ci: as a CI/CD component, with inputs"},
			&cli.BoolFlag{Name: "rolling", Usage: "ci: the hosts of a deployment one after the other, up to the first that fails"},
			&cli.BoolFlag{Name: "verify", Usage: "ci: the jobs that verify in scheduled pipelines, instead"},
			&cli.StringFlag{Name: "image", Usage: "`IMAGE`: ci: what the jobs run in (default: docker:cli; --verify needs one with provision in it)"},
			&cli.IntFlag{Name: "parallel", Usage: "`N`: ci --verify: so many jobs for the whole fleet, not one for each environment"},
		},
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			o, err := renderOptionsOf(c)
			if err != nil {
				return err
			}
			return runRender(env, o)
		},
	}
}

func renderOptionsOf(c *cli.Context) (renderOptions, error) {
	o := renderOptions{
		what: c.Args().Get(0), deployments: c.StringSlice("deployment"), hosts: c.StringSlice("host"),
		ci: ciOptions{where: c.String("in"), component: c.Bool("component"), rolling: c.Bool("rolling"), verify: c.Bool("verify"), image: c.String("image"), parallel: c.Int("parallel")},
	}
	_, known := renderings[o.what]
	switch {
	case o.what == "":
		return o, hint.Add(usagef("what to render is missing"), "provision render ci; provision render --help shows what else there is")
	case !known && o.what != "ci":
		return o, hint.Add(usagef("there is nothing called %q to render", o.what), "provision render --help shows what there is")
	case o.ci.rolling && o.ci.verify:
		return o, usagef("--rolling is for deploy jobs, not for --verify")
	case o.ci.parallel != 0 && !o.ci.verify:
		return o, usagef("--parallel is for render ci --verify")
	case c.IsSet("parallel") && (o.ci.parallel < 1 || o.ci.parallel > maxParallel):
		return o, usagef("--parallel wants a number of jobs from 1 to %d, which is GitLab's limit", maxParallel)
	case o.ci.parallel != 0 && (c.IsSet("deployment") || c.IsSet("host") || c.IsSet("in")):
		return o, hint.Add(usagef("--parallel is for the whole fleet"), "leave it out, or leave out --deployment, --host and --in")
	}
	for _, flag := range []string{"in", "component", "rolling", "verify", "image", "parallel"} {
		if c.IsSet(flag) && o.what != "ci" {
			return o, usagef("--%s is for render ci", flag)
		}
	}
	var err error
	o.inventory, err = inventoryOf(c, c.Args().Tail())
	if o.inCI = o.inventory; c.NArg() < 2 {
		o.inCI = inProject(o.inventory)
	}
	return o, err
}

func runRender(env Env, o renderOptions) error {
	inv, err := inventory.Load(o.inventory)
	if err != nil {
		return usage.Error{Err: err}
	}
	deployments, err := o.choose(inv)
	if err != nil {
		return err
	}
	if o.what == "ci" {
		return renderCI(env.Stdout, o.inCI, deployments, o.ci)
	}
	files := renderings[o.what](inv, deployments)
	if len(files) == 0 {
		return usagef("none of the deployments has an override")
	}
	writeFiles(env.Stdout, files)
	return nil
}

// choose returns the deployments that the flags name.
func (o renderOptions) choose(inv *inventory.Inventory) ([]*inventory.Deployment, error) {
	for _, name := range o.hosts {
		if inv.Host(name) == nil {
			return nil, usagef("%s has no host %q%s", o.inventory, name, didYouMean(name, hostNames(inv)))
		}
	}
	for _, name := range o.deployments {
		if !slices.ContainsFunc(inv.Deployments, func(d *inventory.Deployment) bool { return d.Name == name }) {
			return nil, noDeployment(o.inventory, name, inv)
		}
	}
	var chosen []*inventory.Deployment
	for _, d := range inv.Deployments {
		if (o.deployments == nil || slices.Contains(o.deployments, d.Name)) && (o.hosts == nil || slices.Contains(o.hosts, d.Host.Name)) {
			chosen = append(chosen, d)
		}
	}
	if len(chosen) == 0 {
		return nil, usagef("%s has no such deployment", o.inventory)
	}
	return chosen, nil
}

// renderings are the files that can be rendered, by what they are called. Each
// is named after its host, but for the programs, which are the same everywhere.
var renderings = map[string]func(*inventory.Inventory, []*inventory.Deployment) []steps.File{
	"gate": func(inv *inventory.Inventory, deployments []*inventory.Deployment) []steps.File {
		files := steps.GateFiles()
		for _, d := range deployments {
			files = append(files, on(d, steps.SettingsFile(inv, d)))
		}
		return files
	},
	"override": func(_ *inventory.Inventory, deployments []*inventory.Deployment) (files []steps.File) {
		for _, d := range deployments {
			if d.Override != nil {
				files = append(files, on(d, steps.OverrideFile(d)))
			}
		}
		return files
	},
	"authorized-key": func(_ *inventory.Inventory, deployments []*inventory.Deployment) (files []steps.File) {
		for _, d := range deployments {
			files = append(files, on(d, steps.AuthorizedKey(d)))
		}
		return files
	},
	"config": func(inv *inventory.Inventory, deployments []*inventory.Deployment) (files []steps.File) {
		for _, d := range deployments {
			if f := on(d, steps.RegistryLogin(inv, d)); !slices.Contains(files, f) { // a user may have two deployments
				files = append(files, f)
			}
		}
		return files
	},
}

func on(d *inventory.Deployment, f steps.File) steps.File {
	f.Name = d.Host.Name + ": " + f.Name
	return f
}

// writeFiles prints one file as it is, and of several their names too, as
// head(1) does.
func writeFiles(w io.Writer, files []steps.File) {
	for i, f := range files {
		if len(files) > 1 {
			if i > 0 {
				fmt.Fprintln(w)
			}
			fmt.Fprintf(w, "==> %s <==\n", f.Name)
		}
		fmt.Fprint(w, f.Text)
		if !strings.HasSuffix(f.Text, "\n") {
			fmt.Fprintln(w)
		}
	}
}
