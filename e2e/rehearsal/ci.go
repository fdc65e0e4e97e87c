package rehearsal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"provision/e2e/gitlabtest"
	"provision/inventory"
	"provision/templates"
)

// commit puts files into a bare repository, on each of the branches.
func commit(repository string, branches []string, files map[string]string) error {
	tree, err := os.MkdirTemp("/run", "commit-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tree)
	git := func(args ...string) error {
		cmd := exec.Command("git", args...)
		cmd.Dir = tree
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
			"GIT_AUTHOR_NAME=owner", "GIT_AUTHOR_EMAIL=owner@example.com", "GIT_COMMITTER_NAME=owner", "GIT_COMMITTER_EMAIL=owner@example.com")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("git %s: %w: %s", args[0], err, bytes.TrimSpace(out))
		}
		return nil
	}
	for name, text := range files {
		file := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	commands := [][]string{
		{"init", "--quiet", "--bare", "--initial-branch", branches[0], repository},
		{"init", "--quiet", "--initial-branch", branches[0]},
		{"add", "."},
		{"commit", "--quiet", "--message", "add the project"},
	}
	for _, branch := range branches {
		commands = append(commands, []string{"push", "--quiet", repository, "HEAD:refs/heads/" + branch})
	}
	for _, args := range commands {
		if err := git(args...); err != nil {
			return err
		}
	}
	return nil
}

// A Job is one job of a pipeline on a protected branch.
type Job struct {
	In          string            // a project, or a group: then it is a job of any project there
	Environment string            // "": none
	Variables   map[string]string // of the job itself
	Script      string
}

// Run runs the script of a job as a runner does: with the variables that
// GitLab gives to a job of that environment there, and nothing else. Those of
// a project go before those of its groups, and all of them before the job's
// own.
func (w *World) Run(ctx context.Context, j Job) (string, error) {
	env := map[string]string{"CI_ENVIRONMENT_NAME": j.Environment}
	maps.Copy(env, j.Variables)
	given := map[string]gitlabtest.Variable{}
	for end, c := range j.In + "/" {
		if c != '/' {
			continue
		}
		for _, scope := range []string{"*", j.Environment} {
			for _, v := range w.GitLab.Variables(j.In[:end]) {
				if v.Scope == scope {
					given[v.Key] = v
				}
			}
		}
	}
	for key, v := range given {
		value, err := w.value(v)
		if v.File && value != "" {
			defer os.Remove(value)
		}
		if err != nil {
			return "", err
		}
		env[key] = value
	}
	return w.Lab.Run(ctx, env, j.Script)
}

// CI runs ssh as a deploy job does. Words are what it asks the host for; none
// is a deploy. Options are more options of ssh.
func (w *World) CI(ctx context.Context, d *inventory.Deployment, words string, options ...string) (string, error) {
	return w.Run(ctx, DeployJob(d, words, options...))
}

// DeployJob is the job that CI runs.
func DeployJob(d *inventory.Deployment, words string, options ...string) Job {
	j := Job{In: d.Variables.Group, Script: templates.CIBefore + `
ssh -nT -F "$files/config" $SSH_OPTIONS "$SSH_DEPLOY_TARGET" ${WORDS:+"$WORDS"}
`}
	if j.In == "" {
		j.In = d.Variables.Projects[0]
	}
	if d.Scope != "*" {
		j.Environment = d.Scope
	}
	j.Variables = map[string]string{"PROVISION_PREFIX": d.Variables.Prefix, "WORDS": words, "SSH_OPTIONS": strings.Join(options, " ")}
	return j
}

// value returns what a job sees of a variable: its text, or the name of a file
// with it.
func (w *World) value(v gitlabtest.Variable) (string, error) {
	text, err := v.Value.Reveal()
	if err != nil || !v.File {
		return text, err
	}
	file, err := os.CreateTemp(w.dir, "variable-")
	if err != nil {
		return "", err
	}
	_, err = file.WriteString(text)
	return file.Name(), errors.Join(err, file.Close())
}

// Version returns the version of the image that a deployment runs.
func (w *World) Version(ctx context.Context, d *inventory.Deployment) (string, error) {
	out, err := w.Hosts[d.Host.Name].Exec(ctx, `
home=$(getent passwd "$1" | cut -d : -f 6)
label=com.docker.compose.project.working_dir # of a folder of the clone, if its Compose files are there
for id in $(docker ps --filter "label=$label" --format "{{.ID}} {{.Label \"$label\"}}/" | awk -v folder="$home/$2/" 'index($2, folder) == 1 { print $1 }'); do
	docker exec "$id" cat /version
done | sort -u`, d.User, d.Directory)
	return strings.TrimSpace(out), err
}
