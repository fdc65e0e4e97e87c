package e2e_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"provision/e2e/lab"
)

// A lodger is a deployment whose user was there before, with much that is not
// ours; next to it is one that finds nothing.
const lodger = head + web1 + app + withOverride + `
[deployments.old]
host = "web1"
project = "transmogrify/tool"
user = "lodger"
directory = "tool"
environment = "staging"
variables = { group = "transmogrify" }
`

// standing is what stood on a host, and in GitLab, before anything was
// done there.
type standing struct {
	files               map[string]lab.File
	passwd              string
	keys, config, known string
	made                map[string]bool // the names of all files after the first apply
}

// merged are the files of the lodger that are partly ours after an apply.
var merged = []string{"/home/lodger/.ssh/authorized_keys", "/home/lodger/.docker/config.json", "/home/lodger/.ssh/known_hosts"}

// ofAccounts names what useradd and usermod write.
var ofAccounts = regexp.MustCompile(`^/etc/(passwd|shadow|group|gshadow|subuid|subgid)-?$`)

// moveIn makes what is not ours, and remembers it.
func moveIn(t *testing.T, w *world) *standing {
	t.Helper()
	_, alice := newKey(t)
	_, bob := newKey(t)
	w.sh(t, "web1", `
useradd --create-home --shell /bin/bash lodger
printf 'kept\n' >/etc/not-ours
mkdir -p "/etc/docker/certs.d/$4" /etc/docker/certs.d/other.example.net
printf 'somebody else\n' | tee "/etc/docker/certs.d/$4/other.crt" >/etc/docker/certs.d/other.example.net/ca.crt
printf 'diary\n' >/home/admin/diary
runuser -u lodger -- env HOME=/home/lodger sh -euc '
cd
mkdir -m 700 .ssh .docker
printf "# people\n%s   alice  \n\nfrom=\"10.0.0.0/8\",command=\"echo \\\"hi\\\"\" %s\r\nlast line without an end" "$1" "$2" >.ssh/authorized_keys
chmod 640 .ssh/authorized_keys
printf "other.example.net %s\n# a comment" "$2" >.ssh/known_hosts
printf "{ \"HttpHeaders\" : {\"X-Team\":\"kept\"},  \"x-unknown\":[1, 2.50,null],\"auths\": {\"other.example.net:5000\":{\"auth\":\"b3RoZXI6c2VjcmV0\" , \"note\" : 1}}}" >.docker/config.json
chmod 600 .docker/config.json
git init -q -b main tool
cd tool
git config user.name lodger
git config user.email lodger@example.com
git remote add origin "$3"
printf "services:\n  app:\n    init: true\n    image: %s\n" "$4/transmogrify/tool" >compose.yaml
git add compose.yaml
git commit -q -m "by hand"
printf "# local\n" >>compose.yaml
printf "call Alice first\n" >notes.txt' sh "$1" "$2" "$3" "$4"
[ -e /home.before ] || cp -a /home /home.before`,
		alice, bob, "ssh://git@"+w.Inventory.GitLab.SSH.Host+"/transmogrify/tool.git", w.Inventory.Registry.Host)
	s := &standing{}
	s.files = s.look(t, w)
	s.passwd = w.read(t, "/etc/passwd")
	s.keys, s.config, s.known = w.read(t, merged[0]), w.read(t, merged[1]), w.read(t, merged[2])
	return s
}

func (s *standing) look(t *testing.T, w *world, in ...string) map[string]lab.File {
	t.Helper()
	if len(in) == 0 {
		in = []string{"/etc", "/home", "/root", "/srv", "/opt", "/usr/local"}
	}
	files, err := w.Hosts["web1"].Snapshot(t.Context(), in...)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// leftover is what may differ when an apply has ended early: a backup, whose name
// has the time in it, a clone that git was still writing when it was removed, and
// what useradd did not come to copy.
var leftover = regexp.MustCompile(`\.override\.yaml\.before-|/\.frobnicator\.[A-Za-z0-9]{6}(/|$)|^/home/deploy-user/\.ssh/authorized_keys\.before-provision$|^/home/deploy-user/\.(bashrc|profile|bash_logout)$`)

// names returns the names of all files.
func names(files map[string]lab.File) map[string]bool {
	names := map[string]bool{}
	for name := range files {
		if !leftover.MatchString(name) {
			names[name] = true
		}
	}
	return names
}

// check fails the test unless all that stood before, in some places or in all,
// stands. It returns the files that are there.
func (s *standing) check(t *testing.T, w *world, in ...string) (now map[string]lab.File) {
	t.Helper()
	now = s.look(t, w, in...)
	for name, file := range s.files {
		if len(in) > 0 && !slices.ContainsFunc(in, func(place string) bool { return strings.HasPrefix(name, place) }) {
			continue
		}
		if ofAccounts.MatchString(name) || slices.Contains(merged, name) {
			continue
		}
		switch other, ok := now[name]; {
		case !ok:
			t.Errorf("%s is gone", name)
		case other != file:
			t.Errorf("%s was %+v and is %+v", name, file, other)
		}
	}
	passwd := w.read(t, "/etc/passwd")
	for line := range strings.Lines(s.passwd) {
		if !strings.Contains(passwd, line) {
			t.Errorf("/etc/passwd has lost %q", line)
		}
	}
	parts := strings.Split(w.sh(t, "web1", `for file; do cat "$file"; printf '\001'; done`, merged...), "\x01")
	keys, config, known := parts[0], parts[1], parts[2]
	if block, rest, ok := strings.Cut(keys, "# provision end\n"); ok && strings.HasPrefix(block, "# provision begin\n") {
		if n := strings.Count(block, "\n"); n != 2 {
			t.Errorf("our block has %d lines: %q", n, block)
		}
		keys = rest
	}
	if keys != s.keys {
		t.Errorf("authorized_keys was\n%q\nand is\n%q", s.keys, keys)
	}
	login := regexp.MustCompile(regexp.QuoteMeta(fmt.Sprintf("%q: {\n\t\t\t\"auth\": \"", w.Inventory.Registry.Host)) + `[A-Za-z0-9+/=]+"\n\t\t},\n\t\t`)
	if login.ReplaceAllLiteralString(config, "") != s.config {
		t.Errorf("config.json was\n%q\nand is\n%q", s.config, config)
	}
	if rest, ok := strings.CutPrefix(known, s.known); !ok {
		t.Errorf("known_hosts was\n%q\nand is\n%q", s.known, known)
	} else {
		for line := range strings.Lines(strings.TrimPrefix(rest, "\n")) {
			if !strings.HasSuffix(line, " provision\n") {
				t.Errorf("known_hosts has the line %q", line)
			}
		}
	}
	return now
}

// noted is what deploys note, which depends on how often an apply has begun.
var noted = regexp.MustCompile(`/\.provision/[^/]+/.`)

// complete applies the inventory again and again, and fails the test unless that
// makes everything, leaves nothing behind, and doubles nothing.
func (s *standing) complete(t *testing.T, w *world) {
	t.Helper()
	w.apply(t)
	w.converged(t)
	names := names(s.check(t, w))
	maps.DeleteFunc(names, func(name string, _ bool) bool { return noted.MatchString(name) })
	for project, user := range map[string]string{"transmogrify/frobnicator": "deploy-user", "transmogrify/tool": "lodger"} {
		if ids := w.active("transmogrify", user+"@web1"); len(ids) != 1 {
			t.Errorf("the tokens %v of %s work, want one", ids, user)
		}
		if keys := w.GitLab.DeployKeys(project); len(keys) != 1 || keys[0].CanPush {
			t.Errorf("the deploy keys of %s are %v", project, keys)
		}
	}
	if n := len(w.GitLab.Variables("transmogrify")); n != 6 {
		t.Errorf("the group has %d variables, want 6", n)
	}
	if keys := w.read(t, "/home/deploy-user/.ssh/authorized_keys"); strings.Count(keys, "\n") != 3 || strings.Count(keys, "ssh-ed25519") != 1 {
		t.Errorf("authorized_keys of deploy-user is\n%s", keys)
	}
	if s.made == nil {
		s.made = names
	}
	for name := range names {
		if !s.made[name] {
			t.Errorf("left behind: %s", name)
		}
	}
	for name := range s.made {
		if !names[name] {
			t.Errorf("missing: %s", name)
		}
	}
	for _, name := range []string{"app", "old"} {
		if j := w.ci(t, w.deployment(t, name), "status"); j.code != 0 || !strings.Contains(j.out, `"state":"running"`) {
			t.Errorf("CI asks for the status of %s: %+v", name, j)
		}
	}
}

// moveOut takes away all that an apply makes, so that the next one begins
// again: by other means than those of the program.
func (s *standing) moveOut(t *testing.T, w *world) {
	t.Helper()
	w.sh(t, "web1", `
systemctl start docker.socket docker.service
docker rm --force $(docker ps --all --quiet) 2>/dev/null || :
docker network prune --force >/dev/null
docker image prune --all --force >/dev/null
pkill -KILL -u deploy-user || :
! id deploy-user >/dev/null 2>&1 || userdel --force deploy-user
gpasswd --delete lodger docker >/dev/null 2>&1 || :
usermod --password '!' lodger
rm -rf /etc/provision /usr/local/lib/provision /etc/docker/certs.d/*/provision.crt* /run/provision.lock*
find /home -mindepth 1 -delete
cp -a /home.before/. /home/`)
	w.emptyGitLab()
	s.check(t, w)
}

// emptyGitLab takes away what an apply makes in GitLab.
func (w *world) emptyGitLab() {
	for _, v := range w.GitLab.Variables("transmogrify") {
		w.GitLab.RemoveVariable("transmogrify", v.Key, v.Scope)
	}
	for _, token := range w.GitLab.Tokens("transmogrify") {
		if token.Active {
			w.GitLab.RevokeToken(token.ID)
		}
	}
	for _, project := range []string{"transmogrify/frobnicator", "transmogrify/tool"} {
		for _, key := range w.GitLab.DeployKeys(project) {
			w.GitLab.RemoveDeployKey(project, key.ID)
		}
	}
}
