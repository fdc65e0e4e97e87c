package steps

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
	"provision/provision/hint"
	"provision/provision/visible"
	"provision/templates"
)

// checkout wants a clone of the project that holds the compose.yaml. One that
// is there is left as it is.
type checkout struct {
	deployment, user, directory string
	project, url, branch        string
	web                         string // where the pages of GitLab are
	only                        string // see target.only
}

func checkoutOf(t target) checkout {
	d := t.deployment
	return checkout{d.Name, d.User, d.Directory, d.Project, gitURL(t.inv.GitLab.SSH, d.Project), d.Branch, strings.TrimSuffix(t.inv.GitLab.URL, "/") + "/", t.only()}
}

func gitURL(server inventory.SSHServer, project string) string {
	return "ssh://" + server.User + "@" + urlHost(server.Host, server.Port) + "/" + project + ".git"
}

func (s checkout) Name() string { return "checkout " + s.deployment }

func (s checkout) Scope() provision.Scope {
	return provision.Scope{User: s.user, Deployment: s.deployment}
}

// An origin may hold a password, so what stands before the host is left out.
func (s checkout) Probe() provision.Probe {
	return provision.Probe{Ask: s.ask, Next: s.askOwn, Script: provision.Script{User: s.user, Args: []string{s.directory}, Text: `
[ -e "$1" ] || return 0
fact there yes
command -v git >/dev/null && [ -e "$1/.git" ] || return 0
fact branch "$(git -C "$1" symbolic-ref --quiet --short HEAD || echo -)"
fact origin "$(git -C "$1" config --get remote.origin.url | sed 's|^\([a-z+]*://\)\{0,1\}[^/@]*@|\1|')"
fact head "$(git -C "$1" rev-parse --verify --quiet HEAD)"
git --no-optional-locks -C "$1" status --porcelain --untracked-files=no | head -n 100 | cut -c 4- | facts changed
[ ! -f "$1/.gitmodules" ] || git -C "$1" submodule status 2>/dev/null | sed -n 's/^-[0-9a-f]* //p' | head -n 100 | facts missing
command -v git-lfs >/dev/null || ! git -C "$1" grep -q filter=lfs -- ':(glob)**/.gitattributes' 2>/dev/null || fact lfs missing
`}}
}

// ask returns the newest commits of the branch, each with its parents, and which
// branch that is. Who cannot see them is not told how far behind a clone is.
func (s checkout) ask(ctx context.Context, f forge.Forge) (provision.Facts, error) {
	branch := s.branch
	if branch == "" {
		p, err := f.Project(ctx, s.project)
		if err != nil {
			return nil, unlessUnseen(err)
		}
		branch = p.DefaultBranch
	}
	return s.newest(ctx, f, "newest", branch)
}

// askOwn returns the same of the branch that the clone is at, where the inventory
// leaves it to the clone and it is not the one that GitLab would choose.
func (s checkout) askOwn(f provision.Facts) provision.Question {
	branch := f.Get("branch")
	if s.branch != "" || branch == "" || branch == "-" || f.Get("newest-of") == branch {
		return nil
	}
	return func(ctx context.Context, g forge.Forge) (provision.Facts, error) {
		return s.newest(ctx, g, "own", branch)
	}
}

// newest returns the newest commits of a branch as key, and the branch as key-of.
func (s checkout) newest(ctx context.Context, f forge.Forge, key, branch string) (provision.Facts, error) {
	commits, err := f.Newest(ctx, s.project, branch)
	if err != nil {
		return nil, unlessUnseen(err)
	}
	if len(commits) == 0 {
		return nil, nil
	}
	facts := provision.Facts{key + "-of": {branch}}
	for _, c := range commits {
		facts.Add(key, strings.Join(append([]string{c.ID}, c.Parents...), " "))
	}
	return facts, nil
}

func unlessUnseen(err error) error {
	if errors.Is(err, forge.ErrUnseen) || errors.Is(err, forge.ErrForbidden) || errors.Is(err, forge.ErrNotFound) {
		return nil
	}
	return err
}

func (s checkout) Plan(f provision.Facts) ([]provision.Change, error) {
	home := "~" + s.user + "/" + s.directory
	if f.Get("there") == "" {
		hint := fmt.Sprintf("try it as %s: GitLab has to let its key in, which stands under Deploy keys in the settings of the project, and whose user must not be blocked; the project of a submodule has to let it in, too", s.user)
		if s.branch != "" {
			hint += "; and the project has to have the branch " + s.branch
		}
		return []provision.Change{{
			Verb: provision.Clone, Object: s.url, Remark: "to " + home,
			Hint: hint,
			Do:   provision.Script{User: s.user, Args: []string{s.directory, s.url, s.branch, s.deployment, s.web}, Text: templates.Checkout},
		}}, nil
	}
	if err := s.foreign(home, f); err != nil {
		return nil, err
	}
	var changes []provision.Change
	if origin := f.Get("origin"); !sameOrigin(origin, s.url) {
		changes = append(changes, provision.Change{
			Verb: provision.Set, Object: "the origin of " + home, Remark: "to " + s.url + " (it was " + visible.String(origin) + ")",
			Do: provision.Script{User: s.user, Args: []string{s.directory, s.url}, Text: `git -C "$1" remote set-url origin "$2"`},
		})
	}
	switch branch := visible.String(f.Get("branch")); {
	case s.branch == "" || branch == "" || branch == s.branch:
		changes = append(changes, s.behind(home, f)...)
	case branch == "-":
		changes = append(changes, s.otherBranch(home+" is at no branch, and not at "+s.branch))
	default:
		changes = append(changes, s.otherBranch(home+" is at the branch "+branch+", and not at "+s.branch))
	}
	if n := len(f["changed"]); n > 0 {
		changes = append(changes, provision.Note("%s has local changes, left alone: %s", home, joinAnd(shorten(f["changed"]))).WithHint("git diff shows them; bring them into the project, or into the override"))
	}
	if missing := f["missing"]; len(missing) > 0 {
		changes = append(changes, provision.Note("%s has %s that %s not cloned: %s", home, plural(len(missing), "submodule"), isOrAre(len(missing)), visible.String(joinAnd(shorten(missing)))).WithHint("provision update %s", s.only))
	}
	if f.Get("lfs") != "" {
		changes = append(changes, provision.Note("the project keeps files in Git LFS, and %s has only pointers to them, as git-lfs is not installed", home).
			WithHint("apt-get install git-lfs; then as %s: git -C %s lfs install --local && git -C %[2]s lfs pull", s.user, s.directory))
	}
	return changes, nil
}

// foreign is why what is there is no clone of the project.
func (s checkout) foreign(home string, f provision.Facts) error {
	switch origin := f.Get("origin"); {
	case origin == "":
		return hint.Add(fmt.Errorf("%s is there, but is no clone with an origin", home), "move it away, or choose another directory")
	case !sameOrigin(origin, s.url) && !s.known(f):
		return hint.Add(fmt.Errorf("%s is a clone of %s, not of %s", home, origin, s.url),
			"choose another directory, or set its origin, as %s: git -C %s remote set-url origin %s", s.user, s.directory, hint.Quote(s.url))
	}
	return nil
}

// known tells whether the project has the commit that the clone is at. Then the clone is
// one of it, whatever GitLab and the project were called when it was made.
func (s checkout) known(f provision.Facts) bool {
	_, ok := forge.Behind(commitsOf(f["newest"]), f.Get("head"))
	return ok && f.Get("head") != ""
}

// commitsOf reads commits as newest has told them.
func commitsOf(lines []string) (commits []forge.Commit) {
	for _, line := range lines {
		if words := strings.Fields(line); len(words) > 0 {
			commits = append(commits, forge.Commit{ID: words[0], Parents: words[1:]})
		}
	}
	return commits
}

// behind tells how far behind its branch the clone is, as far as GitLab has told.
func (s checkout) behind(home string, f provision.Facts) []provision.Change {
	head, key := f.Get("head"), "newest"
	if len(f["own"]) > 0 {
		key = "own"
	}
	branch := f.Get(key + "-of")
	if branch == "" || head == "" || branch != f.Get("branch") || len(f[key]) == 0 {
		return nil
	}
	commits := commitsOf(f[key])
	text := ""
	switch n, ok := forge.Behind(commits, head); {
	case !ok:
		text = fmt.Sprintf("%s is at %s, which is not among the newest %d commits of %s", home, short(head), len(commits), visible.String(branch))
	case n > 0:
		text = fmt.Sprintf("%s is %s behind %s", home, plural(n, "commit"), visible.String(branch))
	default:
		return nil
	}
	return []provision.Change{provision.Note("%s", text).WithHint("provision update %s shows what is new, and brings it forward", s.only)}
}

// otherBranch tells that the clone is not where the inventory wants it. What runs
// follows from it, so that apply does not move it.
func (s checkout) otherBranch(what string) provision.Change {
	return provision.Drift("%s", what).WithHint("provision update %s brings it there; then deploy", s.only)
}

// lookAtCheckout reports a clone, whether we made it, and what would be lost
// with it: what git would not bring back, and what is not the user's, such as
// the data of a container. What ends here ends the script.
var lookAtCheckout = templates.Clone + `
! [ -e ".$1.removed" ] || fact half yes
[ -e "$1" ] || return 0
fact there yes
[ -e "$1/.git" ] && command -v git >/dev/null || return 0
fact made "$(git -C "$1" config --local --get provision.deployment)"
override=$1/compose.override.yaml kept=''
if [ -f "$override" ] && [ "$(sha256sum <"$override" | cut -c 1-64)" = "$(git -C "$1" config --local --get provision.override)" ]; then
	fact override ours
	kept='.. compose\.override\.yaml'
fi
# What we have put there would come back, and so would a folder of nothing else.
here=$PWD ours=''
if enter "$1"; then
	ours=$(all_as_written)
	for folder in $(! [ -f "$notes" ] || sed -n 's/^made //p' "$notes"); do
		find "$folder" ! -type d 2>/dev/null | grep -qvxF "$ours" || ours="$ours
$folder/"
	done
fi
cd "$here"
{
	git --no-optional-locks -C "$1" status --porcelain --ignored >/dev/null || echo '?? what git cannot tell'
	git --no-optional-locks -C "$1" status --porcelain --ignored | grep -vx "$kept" |
		grep -vxF "$(printf '%s\n' "$ours" | sed 's/^/?? /; p; s/^??/!!/')" || :
	git -C "$1" log HEAD --branches --not --remotes --format='?? commit %h' || :
	git -C "$1" stash list --format='?? %gd' || :
	find "$1" ! -user "$(id -un)" -prune | sed 's|^[^/]*/|?? |' || :
} 2>/dev/null | head -n 100 | cut -c 4- | sort -u | facts changed
`

// losesNothing tells whether a clone of which these are the facts is removed.
func losesNothing(f provision.Facts) bool { return f.Get("made") != "" && len(f["changed"]) == 0 }

// undo removes the clone, or where it stays what we put into it.
func (s checkout) undo(target) undo {
	script := provision.Script{User: s.user, Args: []string{s.directory}, Text: lookAtCheckout}
	return undo{s.Name(), provision.Probe{Script: script}, func(f provision.Facts) ([]provision.Change, error) {
		home := "~" + s.user + "/" + s.directory
		var changes []provision.Change
		if f.Get("half") != "" {
			changes = append(changes, asUser(s.user, provision.Change{Verb: provision.Remove, Object: fmt.Sprintf("~%s/.%s.removed", s.user, s.directory), Remark: "(left by an interrupted removal)"}, `rm -rf ".$1.removed"`, s.directory))
		}
		switch {
		case f.Get("there") == "":
			return changes, nil
		case losesNothing(f):
			// It moves away first: half of a clone would look like anything.
			return append(changes, asUser(s.user, provision.Change{Verb: provision.Remove, Object: home}, `
mv "$1" ".$1.removed"
rm -rf ".$1.removed"
`, s.directory)), nil
		}
		if f.Get("override") != "" {
			changes = append(changes, asUser(s.user, provision.Change{Verb: provision.Remove, Object: home + "/compose.override.yaml"}, removeOverride, s.directory))
		}
		if f.Get("made") == "" {
			return append(changes, provision.Note("%s stays, as somebody else has made it", home)), nil
		}
		return append(changes, provision.Note("%s stays, as it has what is nowhere else: %s", home, joinAnd(shorten(f["changed"])))), nil
	}}
}

func shorten(words []string) []string {
	const most = 5
	if len(words) <= most {
		return words
	}
	return append(words[:most:most], plural(len(words)-most, "other"))
}

// sameOrigin tells whether two addresses mean the same project on the same
// server, however they are written: user@host:path, ssh:// or https://.
func sameOrigin(a, b string) bool {
	hostA, pathA := origin(a)
	hostB, pathB := origin(b)
	return hostA == hostB && pathA == pathB
}

func origin(url string) (host, path string) {
	_, rest, hasScheme := strings.Cut(url, "://")
	if !hasScheme {
		rest = url
	}
	if _, behind, ok := strings.Cut(rest, "@"); ok {
		rest = behind
	}
	if hasScheme {
		host, path, _ = strings.Cut(rest, "/")
	} else {
		host, path, _ = strings.Cut(rest, ":")
	}
	if name, port, ok := cutPort(host); ok && port != "" {
		host = name
	}
	return strings.ToLower(host), strings.TrimSuffix(strings.Trim(path, "/"), ".git")
}

func cutPort(host string) (name, port string, ok bool) {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.HasSuffix(host, "]") {
		return host, "", false
	}
	return host[:i], host[i+1:], true
}
