package templates

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A deployBox has the deploy, the settings of one deployment "web", and a Docker
// that is a script and a folder. It is the deploy as it stands, but for its
// constants: where the settings and the program itself are, and the shell.
type deployBox struct {
	*box
	dir    string // of the stub of Docker
	folder string // of the project
	state  string // what deploys have noted, below home
	file   string // the program
}

const id1, id2, id3 = "sha256:1111111111111111111111111111111111111111111111111111111111111111",
	"sha256:2222222222222222222222222222222222222222222222222222222222222222", "sha256:3333333333333333333333333333333333333333333333333333333333333333"

// keptName is the name of this deployment for an image of a good deploy.
func keptName(id string) string { return "provision/kept:web_" + strings.TrimPrefix(id, "sha256:") }

func newDeploy(t *testing.T, b *box, settings string) *deployBox {
	t.Helper()
	top := filepath.Dir(b.home)
	d := &deployBox{box: b, dir: filepath.Join(top, "docker"), folder: filepath.Join(b.home, "web dir"), state: ".provision/web", file: filepath.Join(top, "deploy")}
	for _, dir := range []string{d.dir, d.folder, filepath.Join(top, "settings")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d.settings(t, settings)
	b.stub(t, "docker", strings.ReplaceAll(fakeDocker, "DIR", d.dir))
	b.stub(t, "logger", `printf '%s\n' "$*" >>`+quote(filepath.Join(top, "log")))
	b.stub(t, "systemctl", "echo active")
	for _, program := range []string{"flock", "timeout"} { // busybox has others of that name, which know less
		b.stub(t, program, "exec /usr/bin/"+program+` "$@"`)
	}
	text := Deploy
	for _, constant := range [][2]string{
		{"settings=/etc/provision/deployments\n", "settings=" + top + "/settings\n"},
		{"moves=/var/lib/provision/moves/", "moves=" + top + "/moves/"},
		{"program=/usr/local/lib/provision/deploy\n", "program=" + d.file + "\n"},
		{"setsid /bin/sh ", "setsid " + strings.Join(b.shell, " ") + " "},
	} {
		if strings.Count(text, constant[0]) != 1 {
			t.Fatalf("the deploy has %d times %q", strings.Count(text, constant[0]), constant[0])
		}
		text = strings.Replace(text, constant[0], constant[1], 1)
	}
	if err := os.WriteFile(d.file, []byte(b.preferStubs(t)+text), 0o755); err != nil {
		t.Fatal(err)
	}
	d.config(t, `{"name":"shop","services":{"web":{"image":"registry/web:1"},"db":{"image":"registry/db:1"}}}`)
	d.set(t, "remote", "registry/web:1 "+id1+"\nregistry/db:1 "+id2+"\n")
	d.set(t, "images", "")
	d.set(t, "containers", "")
	d.write(t, ".ssh/authorized_keys", `restrict,command="/usr/local/lib/provision/gate web SHA256:key" ssh-ed25519 AAAA`+"\n", 0o600)
	d.write(t, "web dir/compose.yaml", "", 0o644)
	return d
}

// eachDeploy runs f as eachShell does.
func eachDeploy(t *testing.T, settings string, f func(t *testing.T, d *deployBox)) {
	eachShell(t, func(t *testing.T, b *box) {
		t.Parallel()
		f(t, newDeploy(t, b, settings))
	})
}

func (d *deployBox) settings(t *testing.T, more string) {
	t.Helper()
	d.write(t, "../settings/web", "user=deploy\ndirectory=web dir\nregistry=registry\nwait=0\n"+more, 0o644)
}

// set writes a file of the stub of Docker.
func (d *deployBox) set(t *testing.T, name, text string) {
	t.Helper()
	d.write(t, "../docker/"+name, text, 0o644)
}

func (d *deployBox) get(t *testing.T, name string) string {
	t.Helper()
	return d.read(t, "../docker/"+name)
}

// config is the project: for Compose the JSON, and for the stub its services.
func (d *deployBox) config(t *testing.T, json string) {
	t.Helper()
	d.set(t, "config", json)
	out, status := d.sh(t, Wants+"services <<'END'\n"+json+"\nEND\n")
	if status != 0 {
		t.Fatal(out)
	}
	d.set(t, "services", out)
}

func (d *deployBox) command(args ...string) *exec.Cmd {
	cmd := exec.Command(d.shell[0], append(append(slices.Clone(d.shell[1:]), d.file), args...)...)
	cmd.Dir = d.home
	cmd.Env = []string{"HOME=" + d.home, "PATH=" + d.bin + ":" + real, "LC_ALL=C", "USER=deploy", "LOGNAME=deploy", "SHELL=/bin/sh"}
	return cmd
}

// ask asks for a deploy, and returns how it ended: the exit status, what was
// said of the outcome, and what was said before.
func (d *deployBox) ask(t *testing.T, what string, version ...string) (status int, outcome, said string) {
	t.Helper()
	cmd := d.command(append([]string{"ask", "web", "SHA256:key", "192.0.2.7", what}, version...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	status = statusOf(t, cmd.Run(), &errs)
	return status, times.Replace(out.String(), d), times.Replace(errs.String(), d)
}

// check asks for a deploy, and fails the test if it does not end like that.
func (d *deployBox) check(t *testing.T, status int, outcome string, args ...string) {
	t.Helper()
	got, text, said := d.ask(t, args[0], args[1:]...)
	if got != status || text != outcome {
		t.Errorf("%q: status %d, outcome\n%swant %d\n%ssaid before\n%s", args, got, text, status, outcome, said)
	}
}

// times are what no test compares.
var times timesReplacer

type timesReplacer struct{}

func (timesReplacer) Replace(text string, d *deployBox) string {
	text = timeForm.ReplaceAllString(text, "TIME")
	return tookForm.ReplaceAllString(strings.ReplaceAll(text, d.home, "~"), "$1 N s")
}

// calls returns what Docker was asked to change since.
func (d *deployBox) calls(t *testing.T) string {
	t.Helper()
	text, _ := os.ReadFile(filepath.Join(d.dir, "calls"))
	os.Remove(filepath.Join(d.dir, "calls"))
	return strings.ReplaceAll(string(text), d.home, "~")
}

// fakeDocker keeps in DIR the files remote and images, lines of a name and an id;
// services, what Compose would start; and containers, as health.sh has them. The
// files fail-COMMAND and state-SERVICE say what goes wrong.
const fakeDocker = `dir=DIR
case "$*" in
*pull* | *" up "* | "compose run"* | tag* | rmi*)
	printf '%s\n' "$*" | sed 's/--project-directory .* --file .*pins.yaml/PINNED/' >>"$dir/calls"
	;;
esac
fails() {
	[ -e "$dir/fail-$1" ] || return 0
	cat "$dir/fail-$1" >&2
	exit 1
}
id_of() { awk -v n="$1" '$1 == n || $2 == n { print $2; exit }' "$dir/images"; }
put() { cat >"$dir/.new.$$" && mv "$dir/.new.$$" "$dir/$1"; }
command=$1 sub=${2-}
while [ "$command $sub" = "compose --project-directory" ] || [ "$command $sub" = "compose --file" ]; do
	case $3 in *pins.yaml) pins=$3 ;; esac
	shift 2
	sub=$2
done
case "$command $sub" in
"compose pull")
	echo "pulling" >&2
	# Opened, it tells the test that there is a pull, and closed, it lets it end.
	! [ -p "$dir/hold" ] || { echo $$ $(cut -d ' ' -f 6 /proc/$$/stat) >"$dir/holder"; read -r _ <"$dir/hold" || :; }
	shift 2
	[ "${1-}" != --quiet ] || { fails "pull-$2"; exit 0; }
	fails pull
	! [ -e "$dir/fail-next-pull" ] || mv "$dir/fail-next-pull" "$dir/fail-pull"
	{
		cat "$dir/remote"
		awk 'NR == FNR { had[$1] = 1; next } !($1 in had)' "$dir/remote" "$dir/images"
		awk 'NR == FNR { had[$1] = 1; next } $1 in had { print "<none>", $2 }' "$dir/remote" "$dir/images"
	} | awk '!had[$0]++' | put images
	;;
"compose config") cat "$dir/config"; cat "$dir/warnings" >&2 2>/dev/null; fails config ;;
"compose run") fails run ;;
"compose up")
	fails up
	folder=${folder:-$PWD}
	awk 'NR > 1' "$dir/services" | while read -r service image _; do
		pinned=$(sed -n "/^  \"$service\":/{n;s/^    image: \"\(.*\)\"/\1/p;}" "${pins:-/dev/null}")
		image=${pinned:-$image}
		image_id=$(id_of "$image")
		[ -n "$image_id" ] || { echo "no such image: $image" >&2; exit 1; }
		state=$(cat "$dir/state-$service-$image_id" 2>/dev/null || cat "$dir/state-$service" 2>/dev/null || echo running 0 0 2020-01-01T00:00:00Z healthy always)
		old=$(awk -F '\t' -v s="$service" -v i="$image_id" '$9 == s && $8 == i { print $1 }' "$dir/containers")
		! grep -q "^$old	[^r]" "$dir/containers" || state=$(echo "$state" | sed s/2020-01/2020-02/) # it is started again
		[ -n "$old" ] || old=$service-$(($(cat "$dir/counter" 2>/dev/null || echo 0) + 1)) && echo "${old##*-}" >>"$dir/counter.new"
		printf '%s' "$old"
		printf '\t%s' $state "$image_id" "$service" "shop-$service-1" shop "$image" null
		echo
	done >"$dir/.up"
	! [ -e "$dir/counter.new" ] || { sort -n "$dir/counter.new" | tail -n 1 >"$dir/counter"; rm "$dir/counter.new"; }
	mv "$dir/.up" "$dir/containers"
	;;
"ps --all" | "ps ")
	fails ps
	case "$*" in
	*oneoff=True*) ;;
	*"{{.ID}} "*) cut -f 1 "$dir/containers" | sed "s,$, $PWD," ;;
	*oneoff=False*) cat "$dir/names" 2>/dev/null || : ;;
	*"project=shop "*) sed 's/^/- /' "$dir/folders" 2>/dev/null || : ;;
	esac
	;;
"inspect --type") shift 5; for id; do grep "^$id	" "$dir/containers"; done ;;
"inspect --format")
	case $3 in
	*config_files*) echo "2026-01-01T00:00:00Z $PWD/compose.yaml" ;;
	*'if index . "State"'*) # what there is of containers and images
		shift 3
		for it; do
			grep "^$it	" "$dir/containers" && continue
			id=$(id_of "$it")
			[ -n "$id" ] && echo "image $id" || exit 1
		done
		;;
	*Health*) cat "$dir/health" 2>/dev/null || : ;;
	esac
	;;
"image inspect")
	format='' status=0
	shift 2
	[ "$1" != --format ] || { format=$2; shift 2; }
	for name; do
		id=$(id_of "$name")
		[ -n "$id" ] || { status=1; continue; }
		case $format in
		*RepoTags*) awk -v i="$id" '$2 == i && $1 != "<none>" { n++ } END { print n + 0 }' "$dir/images" ;;
		*digests*) printf 'digests\t%s\t[]\n' "$id" ;;
		*) echo "${format%"{{.Id}}"}$id" ;;
		esac
	done
	exit "$status"
	;;
"tag "*)
	id=$(id_of "$2")
	[ -n "$id" ] || exit 1
	{ awk -v n="$3" '$1 != n' "$dir/images"; echo "$3 $id"; } | put images
	;;
"rmi "*)
	id=$(id_of "$2")
	[ -n "$id" ] || exit 1
	names=$(awk -v i="$id" '$2 == i && $1 != "<none>" { n++ } END { print n + 0 }' "$dir/images")
	if [ "$names" -le 1 ] && grep -q "	$id	" "$dir/containers"; then
		exit 1
	elif [ "$names" -le 1 ]; then
		awk -v i="$id" '$2 != i' "$dir/images" | put images
	else
		awk -v n="$2" '$1 != n' "$dir/images" | put images
	fi
	;;
"version --format") fails version; echo 28 ;;
"info --format") echo / ;;
"logs --tail") echo "a log" ;;
*) echo "docker $*?" >&2; exit 1 ;;
esac
`
