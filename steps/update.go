package steps

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"provision/inventory"
	"provision/provision"
	"provision/provision/hint"
	"provision/provision/visible"
	"provision/templates"
)

// clones wants the clone of a deployment to be at the newest commit of its branch,
// or at one that is named. It is no step of [For]: what runs follows from the
// clone, so only a person moves it.
type clones struct {
	clone  checkout
	commit string // "": the newest

	// Confirmed is what was shown of it, and is made however old that is by then; nil
	// where nothing was yet. To is the commit.
	confirmed *provision.Change
	to        string
}

func clonesOf(t target) clones { return clones{clone: checkoutOf(t)} }

func (clones) wanted() bool { return false }

// Update returns steps that bring the clones of deployments on a host to a commit
// of their branches, which is the newest where none is named. Their probes fetch,
// and change nothing else. What they plan tells in its details which commits
// those are, and what Compose makes of them. See [Confirmed].
func Update(inv *inventory.Inventory, host *inventory.Host, deployments []*inventory.Deployment, commit string) []provision.Step {
	var steps []provision.Step
	for _, t := range targets(inv, host, deployments, Given{}) {
		s := clonesOf(t)
		s.commit = commit
		steps = append(steps, s)
	}
	return steps
}

// Confirmed returns steps that make what the steps of [Update] plan of what was
// seen, and nothing newer than that. Those that plan nothing are left out.
func Confirmed(updates []provision.Step, seen provision.Seen) []provision.Step {
	var confirmed []provision.Step
	for _, step := range updates {
		facts := seen.Of(step.Name())
		changes, err := step.Plan(facts)
		s, ok := step.(clones)
		if err != nil || !ok {
			continue
		}
		for _, c := range changes {
			if isScript(c.Do) {
				s.confirmed, s.to = &c, facts.Get("to")
				confirmed = append(confirmed, s)
			}
		}
	}
	return confirmed
}

func isScript(a provision.Action) bool { _, ok := a.(provision.Script); return ok }

func (s clones) Name() string { return "update " + s.clone.deployment }

func (s clones) Scope() provision.Scope { return s.clone.Scope() }

// The facts are those of templates/update_look.sh, and a few of them of what was
// confirmed.
func (s clones) Probe() provision.Probe {
	if s.confirmed != nil {
		return provision.Probe{Script: provision.Script{User: s.clone.user, Args: []string{s.clone.directory}, Text: lookAtConfirmed}}
	}
	return provision.Probe{Script: provision.Script{User: s.clone.user, Args: []string{s.clone.directory, s.clone.deployment, s.clone.url, s.clone.web, s.clone.branch, s.commit}, Text: templates.UpdateLook}}
}

const lookAtConfirmed = `
fact branch "$(git -C "$1" symbolic-ref --quiet --short HEAD || echo -)"
fact head "$(git -C "$1" rev-parse --verify --quiet HEAD)"
git -C "$1" submodule status 2>/dev/null | sed -n 's/^-[0-9a-f]* //p' | facts missing
`

func (s clones) Plan(f provision.Facts) ([]provision.Change, error) {
	if s.confirmed != nil {
		if f.Get("head") == s.to && f.Get("branch") == s.wantedBranch(f) && (s.confirmed.Verb != provision.Clone || len(f["missing"]) == 0) {
			return nil, nil
		}
		return []provision.Change{*s.confirmed}, nil
	}
	home := "~" + s.clone.user + "/" + s.clone.directory
	if f.Get("there") == "" {
		return []provision.Change{provision.Note("%s is not there yet", home).WithHint("provision apply %s clones it", s.clone.only)}, nil
	}
	if err := s.clone.foreign(home, f); err != nil {
		return nil, err
	}
	if err := s.unknown(home, f); err != nil {
		return nil, err
	}
	if f.Get("to") == f.Get("head") && s.wantedBranch(f) == f.Get("branch") {
		missing := f["missing"]
		if len(missing) == 0 {
			return nil, nil
		}
		return []provision.Change{{
			Verb: provision.Clone, Object: "the submodules of " + home, Remark: "(" + joinAnd(shorten(missing)) + ")",
			Hint: s.keyHint("its project"),
			Do:   provision.Script{User: s.clone.user, Args: []string{s.clone.directory, s.clone.deployment, s.clone.url, s.clone.web}, Text: templates.Submodules},
		}}, nil
	}
	if err := s.inTheWay(home, f); err != nil {
		return nil, err
	}
	c := provision.Change{
		Verb: provision.Update, Object: home, Remark: s.way(f), Detail: updateDetail(f),
		Do: provision.Script{
			User: s.clone.user, Args: []string{s.clone.directory, s.clone.deployment, s.clone.url, s.clone.web, s.wantedBranch(f), f.Get("head"), f.Get("to")}, Text: templates.Update,
		},
	}
	if s.wantedBranch(f) != f.Get("branch") {
		c.Verb = provision.Switch
	}
	return append([]provision.Change{c}, s.mounted(home, f)...), nil
}

// wantedBranch is the one to be at.
func (s clones) wantedBranch(f provision.Facts) string {
	if s.clone.branch != "" {
		return s.clone.branch
	}
	return f.Get("branch")
}

// short is how a commit is called, as in templates/update_look.sh.
func short(commit string) string { return visible.String(commit[:min(8, len(commit))]) }

// way says where the clone goes, from where it is.
func (s clones) way(f provision.Facts) string {
	branch, to := visible.String(s.wantedBranch(f)), short(f.Get("to"))
	ahead, back := number(f, "ahead"), number(f, "back")
	switch {
	case branch != visible.String(f.Get("branch")):
		return fmt.Sprintf("to the branch %s, at %s (%s more than %s, %d fewer)", branch, to, plural(ahead, "commit"), visible.String(f.Get("branch")), back)
	case back > 0:
		return fmt.Sprintf("to %s of %s: goes back by %s", to, branch, plural(back, "commit"))
	}
	return fmt.Sprintf("to %s of %s (%s)", to, branch, plural(ahead, "commit"))
}

func number(f provision.Facts, key string) int {
	n, _ := strconv.Atoi(f.Get(key))
	return n
}

// unknown is why nobody can tell where the clone is to go.
func (s clones) unknown(home string, f provision.Facts) error {
	branch := visible.String(s.wantedBranch(f))
	switch {
	case f.Get("head") == "":
		return hint.Add(fmt.Errorf("%s has no commit", home), "move it away; apply clones it")
	case f.Get("branch") == "-":
		return hint.Add(fmt.Errorf("%s is at no branch (detached HEAD), left alone", home),
			"as %s: git -C %s switch %s; then run it again", s.clone.user, s.clone.directory, hint.Quote(cmp.Or(s.clone.branch, "BRANCH")))
	case f.Get("unfetched") != "":
		err := fmt.Errorf("the branch %s of %s cannot be fetched: %s", branch, s.clone.project, visible.String(f.Get("unfetched")))
		if strings.Contains(f.Get("unfetched"), "find remote ref") {
			return hint.Add(err, "the project has no such branch; branch = in the inventory names another one")
		}
		return hint.Add(err, "try it as %s: GitLab has to let its key in, which stands under Deploy keys in the settings of the project, and whose user must not be blocked", s.clone.user)
	case f.Get("unknown") != "":
		return hint.Add(fmt.Errorf("%s has no commit %s", s.clone.project, visible.String(s.commit)), "as %s: git -C %s log --oneline %s shows those of %s", s.clone.user, s.clone.directory, hint.Quote("origin/"+branch), branch)
	}
	return nil
}

// inTheWay is what would be lost, or could not be had.
func (s clones) inTheWay(home string, f provision.Facts) error {
	branch := visible.String(s.wantedBranch(f))
	switch {
	case len(f["changed"]) > 0:
		return hint.Add(fmt.Errorf("%s has local changes, which would be lost: %s", home, visible.String(joinAnd(shorten(f["changed"])))),
			"as %s: git -C %s diff shows them; bring them into the project, or into the override, and git -C %[2]s stash puts them aside", s.clone.user, s.clone.directory)
	case f.Get("off") != "":
		return s.off(home, f)
	case f.Get("astray") != "":
		return fmt.Errorf("the commit %s is not on the branch %s", short(f.Get("to")), branch)
	case number(f, "back") > 0 && number(f, "ahead") > 0 && branch == visible.String(f.Get("branch")):
		return fmt.Errorf("the commit %s neither follows %s, at which %s is, nor does that follow it", short(f.Get("to")), short(f.Get("head")), home)
	case len(f["overwritten"]) > 0:
		return hint.Add(fmt.Errorf("%s has files that are not of the project, and that %s would overwrite: %s", home, short(f.Get("to")), visible.String(joinAnd(shorten(f["overwritten"])))),
			"move them away, or take them out of the project")
	case f.Get("lfs") != "":
		return hint.Add(fmt.Errorf("the project keeps files in Git LFS, and git-lfs is not installed"), "apt-get install git-lfs")
	case f.Get("refused") != "":
		path, url, _ := strings.Cut(f.Get("submodule"), " ")
		return hint.Add(fmt.Errorf("the submodule %s cannot be had from %s: %s", visible.String(path), visible.String(url), visible.String(f.Get("refused"))),
			"%s", s.keyHint(visible.String(url)))
	}
	return nil
}

// off is for commits that only the clone has.
func (s clones) off(home string, f provision.Facts) error {
	branch := visible.String(f.Get("off"))
	remote := hint.Quote("origin/" + branch)
	err := fmt.Errorf("%s has commits of %s that GitLab does not have: the branch was rewritten, or somebody has made them on the host", home, branch)
	err = hint.Add(err, "as %s: git -C %s log --oneline %s shows what would be lost", s.clone.user, s.clone.directory, hint.Quote("origin/"+branch+".."+branch))
	if branch == visible.String(f.Get("branch")) {
		return hint.Add(err, "to give that up, as %s: git -C %s reset --keep %s", s.clone.user, s.clone.directory, remote)
	}
	return hint.Add(err, "to give that up, as %s: git -C %s branch --force %s %s", s.clone.user, s.clone.directory, hint.Quote(branch), remote)
}

func (s clones) keyHint(project string) string {
	return fmt.Sprintf("the key of %s has to be a deploy key of %s too: enable it there, under Deploy keys in the settings of the project; and its address in .gitmodules has to be one of this GitLab, as ../NAME.git", s.clone.user, project)
}

// mounted tells of files that change, and that a service may go on seeing as they
// were.
func (s clones) mounted(home string, f provision.Facts) []provision.Change {
	var changes []provision.Change
	was, will := composedOf(f["was"]), composedOf(f["will"])
	for _, line := range f["mounted"] {
		words := strings.SplitN(line, " ", 3)
		if len(words) < 3 || f.Has("other", words[0]) || len(changesOf(was, will, words[0])) > 0 { // the deploy makes that one anew
			continue
		}
		service, path := visible.String(words[0]), visible.String(words[2])
		text := "%s/%s changes, and service %s, which mounts it, may see the old one until it is made anew: the next deploy does that only for another image"
		if words[1] == "folder" {
			text = "%s/%s changes, and service %s, which mounts it, sees that at once, but may have to be told"
		}
		changes = append(changes, provision.Note(text, home, path, service).
			WithHint("after the deploy: docker compose up --detach --force-recreate %s, there and as %s", hint.Quote(service), s.clone.user))
	}
	return changes
}
