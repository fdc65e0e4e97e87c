package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"provision/e2e/lab"
	"provision/e2e/rehearsal"
	"provision/e2e/sample"
	"provision/inventory"
)

// A zoo is a world with many deployments, whose Compose projects are of all kinds.
type zoo struct {
	*world
	applying sync.Mutex // the inventory is one file
}

// zooTests are the tests with the names of the animals that each has for itself.
var zooTests = map[string]struct {
	run     func(*testing.T, *zoo)
	animals string
}{
	"client killed while Compose stops":  {testKilledClient, "killed"},
	"client stopped while Compose stops": {testStoppedClient, "stopped"},
	"link cut while Compose stops":       {testCutLink, "cut"},
	"client gone before health":          {testGoneBeforeHealth, "health-good health-bad health-back"},
	"one-shot":                           {testOneShot, "seed"},
	"failing migration":                  {testFailingMigration, "migrate"},
	"disabled health check":              {testDisabledCheck, "unchecked"},
	"crash loop":                         {testCrashLoop, "loop loop-plain loop-checked"},
	"end with a restart policy":          {testEnds, "ends"},
	"pinned tags":                        {testPinned, "pinned"},
	"six deploys":                        {testSixDeploys, "many neighbour many-three"},
	"two of one image":                   {testTwins, "twin-a twin-b"},
	"renamed service":                    {testRenamedService, "renamed"},
	"renamed project":                    {testRenamedProject, "own-name"},
	"image without a registry":           {testBuilt, "built"},
	"reasons":                            {testReasons, "told quiet"},
	"revision":                           {testRevision, "revision"},
	"unset variable":                     {testUnset, "unset"},
	"mixed":                              {testMixed, "mixed"},
	"versions":                           {testVersions, "versioned versioned-plain seed"},
	"before":                             {testBefore, "before"},
	"containerd's images":                {testStore, "store store-migrate"},
	"name of another":                    {testForeignProject, "alice"},
	"one name for two":                   {testOneName, "frob-production frob-staging"},
	"full disk":                          {testFullDisk, "big"},
}

// What becomes of a deploy depends on what Compose and Docker make of a project.
// Each test has a deployment of its own, and looks at what runs.
func TestZoo(t *testing.T) {
	t.Parallel()
	tests := sample.Some(t, slices.Sorted(maps.Keys(zooTests)), 4)
	animals := []string{"offline"}
	for _, name := range tests {
		animals = append(animals, strings.Fields(zooTests[name].animals)...)
	}
	override := filepath.Join(t.TempDir(), "pinned.yaml")
	if err := os.WriteFile(override, []byte("services:\n  app:\n    image: \"@{image}:@{tag}\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	z := &zoo{world: newWorld(t, zooInventory(override, animals), func(o *rehearsal.Options) { o.Files = zooFiles })}
	z.prepare(t)
	limits := []string{"--limit", "web1"}
	if z.Hosts["web2"] != nil {
		limits = append(limits, "--limit", "web2")
	}
	z.apply(t, limits...)

	t.Run("together", func(t *testing.T) {
		for _, name := range tests {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				zooTests[name].run(t, z)
			})
		}
	})
	t.Run("registry down", func(t *testing.T) { testRegistryDown(t, z) })
	t.Run("docker down", func(t *testing.T) { testDockerDown(t, z) })
}

// prepare makes what the projects find on their hosts and in the registry.
func (z *zoo) prepare(t *testing.T) {
	t.Helper()
	for _, a := range zooAnimals {
		if strings.Contains(a.compose, "IMAGE/migrate") && z.here(a.name) {
			z.pushImage(t, a.name, lab.Image{Repository: a.path() + "/migrate", Version: "1", Shell: migrating + "exit 0"})
		}
	}
	if z.here("pinned") {
		z.pushImage(t, "pinned", lab.Image{Version: "1", Tag: "one", Healthy: true})
		z.pushImage(t, "pinned", lab.Image{Version: "2", Tag: "two", Broken: true})
	}
	z.sh(t, "web1", `
mkdir -p /run/zoo/before /run/zoo/offline
chmod 777 /run/zoo/*`)
	// As it is, Docker has addresses for some thirty networks.
	z.sh(t, "web1", `
mkdir -p /etc/docker
echo '{"default-address-pools": [{"base": "172.16.0.0/12", "size": 24}]}' >/etc/docker/daemon.json
systemctl restart docker`)
	for host := range z.Hosts {
		z.install(t, host, "/usr/local/bin/busybox")
	}
	z.sh(t, "web1", importing+`
import zoo-built:1
docker tag zoo-built:1 registry.invalid/zoo-foreign:1`)
	if z.Hosts["web2"] != nil {
		z.prepareStore(t)
	}
	if z.Hosts["web3"] != nil {
		z.prepareSmallDisk(t)
	}
}

// here tells whether the zoo has an animal.
func (z *zoo) here(name string) bool {
	return slices.ContainsFunc(z.Inventory.Deployments, func(d *inventory.Deployment) bool { return d.Name == name })
}

// migrating is how a migration tells that it ran.
const migrating = "[ ! -e /gate ] || echo migrated >>/gate/migrations; "

// importing makes an image without any registry.
const importing = `
import() {
	mkdir -p /run/root/bin
	cp /usr/local/bin/busybox /run/root/bin
	tar -C /run/root -c . | docker import --change 'CMD ["/bin/busybox", "sleep", "1000000"]' --change 'STOPSIGNAL SIGKILL' --change 'LABEL version=1' - "$1"
}
`

// install copies busybox to a host.
func (z *zoo) install(t *testing.T, host, file string) {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(z.Hosts[host].File(file), content, 0o755); err != nil {
		t.Fatal(err)
	}
}

// applies applies the inventory to one deployment, after changes to it.
func (z *zoo) applies(t *testing.T, name string, code int, changes ...func()) result {
	t.Helper()
	z.applying.Lock()
	defer z.applying.Unlock()
	for _, change := range changes {
		change()
	}
	return z.run(t, "apply", "--limit", name).exits(t, code)
}

// pushImage pushes an image of a deployment's project, and returns its digest.
func (z *zoo) pushImage(t *testing.T, name string, i lab.Image) string {
	t.Helper()
	if i.Repository == "" {
		i.Repository = z.deployment(t, name).Project
	}
	digest, err := z.PushImage(t.Context(), i)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// deploys asks for a deploy as CI does, and fails the test unless the job ends
// with that exit code and says all of these texts.
func (z *zoo) deploys(t *testing.T, name, words string, code int, texts ...string) job {
	t.Helper()
	j := z.job(t, name, words)
	if j.code != code {
		t.Fatalf("the job of %s: exit code %d, want %d\nstdout:\n%s\nstderr:\n%s", name, j.code, code, j.out, j.errors)
	}
	result(j).says(t, texts...)
	return j
}

// job runs ssh as a deploy job, and keeps what it says on standard error.
func (z *zoo) job(t *testing.T, name, words string) job {
	t.Helper()
	j, err := z.start(t.Context(), t, name, words)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// start is job for where the job may be killed.
func (z *zoo) start(ctx context.Context, t *testing.T, name, words string) (job, error) {
	file := filepath.Join(t.TempDir(), "errors")
	deploy := rehearsal.DeployJob(z.deployment(t, name), words, "-o", "SendEnv=zoo-"+name)
	deploy.Script = "exec 2>" + file + "\n" + deploy.Script
	out, err := z.Run(ctx, deploy)
	said, _ := os.ReadFile(file)
	if err == nil {
		return job{0, out, string(said)}, nil
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
		return job{exit.ExitCode(), out, string(said)}, nil
	}
	return job{-1, out, string(said)}, err
}

// endsWith fails the test unless that is the last line of a job's output; what is
// between two "…" is any text.
func endsWith(t *testing.T, j job, want string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(j.out), "\n")
	if last := lines[len(lines)-1]; !matches(last, want) {
		t.Errorf("the job ends with\n\t%s\nwant\n\t%s\nstdout:\n%s\nstderr:\n%s", last, want, j.out, j.errors)
	}
}

// matches tells whether text is want, where "…" is any text.
func matches(text, want string) bool {
	parts := strings.Split(want, "…")
	rest, ok := strings.CutPrefix(text, parts[0])
	for _, part := range parts[1:] {
		if !ok {
			return false
		}
		_, rest, ok = strings.Cut(rest, part)
	}
	return ok && (rest == "" || strings.HasSuffix(want, "…"))
}

// A container is what Docker tells of it.
type container struct {
	ID     string `json:"Id"`
	Image  string
	Name   string
	Config struct {
		Labels map[string]string
		Env    []string
		Image  string
	}
	State struct {
		Status    string
		ExitCode  int
		StartedAt time.Time
	}
}

func (c container) service() string { return c.Config.Labels["com.docker.compose.service"] }

// containers returns those of a deployment, sorted by service and name.
func (z *zoo) containers(t *testing.T, name string) []container {
	t.Helper()
	d := z.deployment(t, name)
	out := z.sh(t, d.Host.Name, `
ids=$(docker ps --all --quiet --no-trunc --filter "label=com.docker.compose.project.working_dir=/home/zoo/$1")
[ -z "$ids" ] || docker inspect $ids`, d.Directory)
	var all []container
	if out != "" {
		if err := json.Unmarshal([]byte(out), &all); err != nil {
			t.Fatal(err)
		}
	}
	slices.SortFunc(all, func(a, b container) int {
		return strings.Compare(a.service()+" "+a.Name, b.service()+" "+b.Name)
	})
	return all
}

// has fails the test unless the containers of a deployment are those: "SERVICE
// VERSION STATE". It returns them.
func (z *zoo) has(t *testing.T, name string, want ...string) []container {
	t.Helper()
	all := z.containers(t, name)
	var got []string
	for _, c := range all {
		text := c.service() + " " + c.Config.Labels["version"] + " " + c.State.Status
		if c.State.Status == "exited" {
			text += fmt.Sprint(" ", c.State.ExitCode)
		}
		got = append(got, text)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s has the containers %q, want %q", name, got, want)
	}
	return all
}

// ids returns what tells whether a container was replaced or started again.
func ids(all []container) []string {
	var ids []string
	for _, c := range all {
		ids = append(ids, c.ID[:12]+" "+c.State.StartedAt.Format(time.RFC3339Nano))
	}
	return ids
}

// untouched fails the test unless the containers of a deployment are the same,
// and were not started again.
func (z *zoo) untouched(t *testing.T, name string, before []container) {
	t.Helper()
	if now := z.containers(t, name); !slices.Equal(ids(now), ids(before)) {
		t.Errorf("the containers of %s were %q, and are now %q", name, ids(before), ids(now))
	}
}

// journal returns the last line of the journal about a deployment.
func (z *zoo) journal(t *testing.T, name string) string {
	t.Helper()
	return z.sh(t, z.deployment(t, name).Host.Name, `journalctl --sync; journalctl -t provision -o cat --all | grep "^$1: " | tail -n 1`, name)
}

// write writes a file of a deployment, as an update of its clone does.
func (z *zoo) write(t *testing.T, name, file, text string) {
	t.Helper()
	d := z.deployment(t, name)
	text = strings.ReplaceAll(text, "IMAGE", z.Inventory.Registry.Host+"/"+d.Project)
	z.sh(t, d.Host.Name, `printf %s "$1" >"/home/zoo/$2" && chown zoo: "/home/zoo/$2"`, text, d.Directory+"/"+file)
}

// await runs a script on a host again and again until it succeeds.
func (z *zoo) await(t *testing.T, host, script string, args ...string) {
	t.Helper()
	z.sh(t, host, `
end=$(($(date +%s) + 30))
until (`+script+`); do
	[ "$(date +%s)" -lt "$end" ] || { echo "it never came to that" >&2; exit 1; }
	sleep 0.05
done`, args...)
}
