package gitlabtest

import (
	"os/exec"
	"path"
	"strings"
)

// listTree lists a folder of a branch as git knows it.
func listTree(c *call) (any, error) {
	o, err := c.ownerFor("project", 0, Reporter)
	if err != nil {
		return nil, err
	}
	branch, folder := c.text("ref"), strings.Trim(c.text("path"), "/")
	if branch == "" {
		branch = o.defaultBranch
	}
	git := func(args ...string) (string, error) {
		out, err := exec.Command("git", append([]string{"--git-dir", o.repository}, args...)...).Output()
		return string(out), err
	}
	if _, err := git("rev-parse", "--verify", "--quiet", "--end-of-options", branch+"^{commit}"); err != nil {
		return nil, notFound("Tree")
	}
	listed, err := git("ls-tree", "-z", branch+":"+folder)
	if err != nil {
		return nil, notFound("invalid revision or path")
	}
	return page(c, strings.FieldsFunc(listed, func(r rune) bool { return r == 0 }), func(line string) object {
		about, name, _ := strings.Cut(line, "\t")
		words := strings.Fields(about)
		return object{"id": words[2], "name": name, "type": words[1], "path": path.Join(folder, name), "mode": words[0]}
	})
}
