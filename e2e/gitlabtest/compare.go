package gitlabtest

import (
	"net/http"
	"os/exec"
	"strings"
)

// compareRefs answers with the commits that one has and another has not, as git
// knows them. A commit or branch that is not there is not found.
func compareRefs(c *call) (any, error) {
	o, err := c.ownerFor("project", 0, Reporter)
	if err != nil {
		return nil, err
	}
	c.require("from", "to")
	if err := c.err(); err != nil {
		return nil, err
	}
	from, there := o.commit(c.text("from"))
	to, both := o.commit(c.text("to"))
	if !there || !both {
		return nil, notFound("Ref")
	}
	dots := "..."
	if c.boolean("straight", false) {
		dots = ".."
	}
	commits, err := o.commits(c.g.url(), from, to)
	if err != nil {
		return nil, message(http.StatusInternalServerError, "500 Internal Server Error")
	}
	diffs := []object{}
	files, _ := o.git("diff", "--name-only", "-z", "--no-renames", from+dots+to)
	for _, file := range strings.FieldsFunc(files, func(r rune) bool { return r == 0 }) {
		text, _ := o.git("diff", from+dots+to, "--", file)
		_, hunks, _ := strings.Cut(text, "\n@@")
		diffs = append(diffs, object{
			"diff": "@@" + hunks, "collapsed": false, "too_large": false, "new_path": file, "old_path": file, "a_mode": "100644", "b_mode": "100644",
			"new_file": strings.Contains(text, "\nnew file mode "), "renamed_file": false, "deleted_file": strings.Contains(text, "\ndeleted file mode "), "generated_file": nil,
		})
	}
	answer := object{
		"commit": nil, "commits": commits, "diffs": diffs, "compare_timeout": false, "compare_same_ref": from == to,
		"web_url": c.g.url() + "/" + o.fullPath() + "/-/compare/" + from + dots + to,
	}
	if n := len(commits); n > 0 {
		answer["commit"] = commits[n-1]
	}
	return answer, nil
}

// commit returns the id of a commit that a branch, a tag or an id names.
func (o *owner) commit(name string) (id string, ok bool) {
	id, err := o.git("rev-parse", "--verify", "--quiet", "--end-of-options", name+"^{commit}")
	return strings.TrimSpace(id), err == nil
}

// commits lists the commits before one and not before another, the oldest first.
func (o *owner) commits(url, from, to string) ([]object, error) {
	const format = "%H%x1f%h%x1f%P%x1f%s%x1f%B%x1f%an%x1f%ae%x1f%aI%x1f%cn%x1f%ce%x1f%cI%x1e"
	text, err := o.git("log", "--reverse", "--format="+format, from+".."+to)
	commits := []object{}
	for record := range strings.SplitSeq(text, "\x1e") {
		f := strings.Split(strings.TrimPrefix(record, "\n"), "\x1f")
		if len(f) < 11 {
			continue
		}
		commits = append(commits, object{
			"id": f[0], "short_id": f[0][:8], "parent_ids": strings.Fields(f[2]), "title": f[3], "message": f[4],
			"author_name": f[5], "author_email": f[6], "authored_date": f[7], "committer_name": f[8], "committer_email": f[9],
			"committed_date": f[10], "created_at": f[10], "trailers": object{}, "extended_trailers": object{},
			"web_url": url + "/" + o.fullPath() + "/-/commit/" + f[0],
		})
	}
	return commits, err
}

// git runs git in the repository of a project.
func (o *owner) git(args ...string) (string, error) {
	cmd := exec.Command("git", append([]string{"--git-dir", o.repository}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/nonexistent", "LC_ALL=C", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}
	out, err := cmd.Output()
	return string(out), err
}
