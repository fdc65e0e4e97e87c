package gitlabtest

import (
	"os/exec"
	"strings"
	"time"
)

// listCommits reads the repository of the project, as far back as there are
// commits. A branch that there is not has none.
func listCommits(c *call) (any, error) {
	o, err := c.ownerFor("project", 0, Reporter)
	if err != nil {
		return nil, err
	}
	branch := c.text("ref_name")
	if branch == "" {
		branch = o.defaultBranch
	}
	if err := exec.Command("git", "--git-dir", o.repository, "rev-parse", "--git-dir").Run(); err != nil || o.empty {
		return nil, notFound("Repository")
	}
	out, err := exec.Command("git", "--git-dir", o.repository, "log", "--format=%H%x00%P%x00%s%x00%aI%x00%an%x00%ae", branch, "--").Output()
	if err != nil {
		out = nil
	}
	return page(c, strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' }), c.commitFields)
}

func (c *call) commitFields(line string) object {
	f := strings.Split(line, "\x00")
	when := f[3]
	if t, err := time.Parse(time.RFC3339, when); err == nil {
		when = t.Format("2006-01-02T15:04:05.000-07:00")
	}
	return object{
		"id": f[0], "short_id": f[0][:8], "parent_ids": strings.Fields(f[1]), "title": f[2], "message": f[2] + "\n", "created_at": when,
		"author_name": f[4], "author_email": f[5], "authored_date": when, "committer_name": f[4], "committer_email": f[5], "committed_date": when,
		"trailers": object{}, "extended_trailers": object{}, "web_url": c.g.url() + "/-/commit/" + f[0],
	}
}
