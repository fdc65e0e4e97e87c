package e2e_test

import (
	"fmt"
	"strings"
	"testing"
)

// sharedHome runs the deploy job of $BODY many times at once, for two hosts in
// turn, and prints what is wrong.
const sharedHome = `
out=$(mktemp -d /run/jobs-XXXXXX)
trap 'rm -rf "$out"' EXIT
mkdir ~/.ssh "$out/tmp"
printf 'Host *\n\tPort 9\n' >~/.ssh/config
echo '# of the runner' >~/.ssh/known_hosts
for host in 0 1; do
	printenv "SSH_AUTH_$host" >"$out/auth$host"
done
look() {
	find ~ "$out"/auth* -printf '%p %m %T@ %C@ %s\n'
}
before=$(look)
n=0
while [ "$n" -lt "$JOBS" ]; do
	n=$((n + 1)) host=$((n % 2))
	(
		status=0
		SSH_AUTH=$out/auth$host SSH_KNOWN_HOSTS=$(printenv "SSH_KNOWN_HOSTS_$host") SSH_DEPLOY_TARGET=$(printenv "SSH_DEPLOY_TARGET_$host") \
			TMPDIR=$out/tmp busybox sh -e -o pipefail -c "$BODY" </dev/null >"$out/$n" 2>&1 || status=$?
		[ "$status" = 0 ] || { echo "job $n: exit status $status"; tail -n 3 "$out/$n"; } >"$out/$n.failed"
	) &
done
wait
cat "$out"/*.failed 2>/dev/null || :
[ "$before" = "$(look)" ] || { echo 'the home of the runner is not what it was:'; look; }
[ -z "$(ls -A "$out/tmp")" ] || { echo 'jobs left files:'; ls -AR "$out/tmp"; }
`

// Jobs of one runner share a home, and nothing in it is theirs.
func TestRenderSharedHome(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+web2+strings.Replace(app, `host = "web1"`, `hosts = ["web1", "web2"]`, 1))
	w.apply(t)
	w.push(t, "app", "2")
	env := map[string]string{}
	for _, job := range renderJobs(t, w, nil) {
		env["BODY"] = job.Variables["BODY"]
	}
	for i, d := range w.Inventory.Deployments {
		for name, value := range w.jobEnv(t, d) {
			env[fmt.Sprintf("%s_%d", name, i)] = value
		}
	}
	const jobs = 30
	env["JOBS"] = fmt.Sprint(jobs)
	if out, err := w.Lab.Run(t.Context(), env, sharedHome); err != nil || out != "" {
		t.Errorf("%d jobs at once: %v\n%s(%d failed)", jobs, err, out, strings.Count(out, "exit status"))
	}
	for _, d := range w.Inventory.Deployments {
		if got, err := w.Version(t.Context(), d); err != nil || got != "2" {
			t.Errorf("%s runs version %q, want 2: %v", d.Host.Name, got, err)
		}
	}
}

// Some runners run a job as a uid that has no name, and no home.
func TestRenderNameless(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	job := renderJobs(t, w, nil)["deploy app"]
	job.In = "transmogrify"
	body := job.Variables["BODY"]
	for i, c := range []struct {
		name, before, body string
		status             string // of the job
		says               string
	}{
		{"passwd that its group may write", `cp /etc/passwd passwd; chmod 664 passwd; mount --bind passwd /etc/passwd`, "unshare() { return 1; }\n" + body, "0", ""},
		{"user namespaces", ``, body, "0", ""},
		{"neither", ``, "unshare() { return 1; }\n" + body, "1",
			"this job runs as uid 12345, which has no entry in /etc/passwd, and OpenSSH needs one: "},
	} {
		version := fmt.Sprint(i + 2)
		w.push(t, "app", version)
		job.Variables["BODY"] = c.body
		job.Script = c.before + `
chmod 711 "${SSH_AUTH%/*}"
chmod 644 "$SSH_AUTH"
cd /
status=0
setpriv --reuid 12345 --regid 0 --clear-groups env -u HOME busybox sh -e -o pipefail -c "$BODY" </dev/null 2>&1 || status=$?
echo "exit status $status"
`
		out, err := w.Run(t.Context(), job)
		if err != nil || !strings.HasSuffix(out, "exit status "+c.status+"\n") || !strings.Contains(out, c.says) {
			t.Errorf("%s: %v\n%s", c.name, err, out)
		}
		if c.status == "0" {
			w.runs(t, "app", version)
		}
	}
}

// A job that is given a version asks for that one.
func TestRenderVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, head+web1+app)
	w.apply(t)
	job := renderJobs(t, w, nil)["deploy app"]
	job.In = "transmogrify"
	job.Variables["PROVISION_VERSION"] = "1.4.1"
	out, err := w.Run(t.Context(), job)
	_, below, ended := strings.Cut(out, ":provision\r\x1b[0K\n")
	if err == nil || !ended || !strings.HasPrefix(below, "provision: refused: ") {
		t.Errorf("a deployment without versions is given one: %v\n%q", err, out)
	}
}
