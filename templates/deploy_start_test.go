package templates

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A start brings back what the last good deploy was, and pulls nothing, whatever
// the names of its images mean by now.
func TestDeployStarts(t *testing.T) {
	eachDeploy(t, "rollback=yes\n", func(t *testing.T, d *deployBox) {
		d.check(t, 0, firstGood, "deploy")
		good := d.read(t, d.state+"/good")
		d.set(t, "images", strings.Replace(d.get(t, "images"), "registry/web:1 "+id1, "registry/web:1 "+id3, 1))
		d.set(t, "containers", "")
		d.calls(t)
		d.check(t, 0, firstGood, "start")
		if got := d.calls(t); !strings.HasPrefix(got, "compose PINNED up --detach --no-recreate --pull missing --remove-orphans\n") || strings.Contains(got, "compose pull") {
			t.Errorf("docker was asked to\n%s", got)
		}
		if got := d.get(t, "containers"); !strings.Contains(got, keptName(id1)) || strings.Contains(got, id3) {
			t.Errorf("the containers are\n%s", got)
		}
		_, before, _ := strings.Cut(good, "\n")
		if _, now, _ := strings.Cut(d.read(t, d.state+"/good"), "\n"); now != before {
			t.Errorf("the record became\n%swant\n%s", now, before)
		}

		// What does not come up is not gone back from.
		d.set(t, "containers", "")
		d.set(t, "state-web", "exited 2 0 2020-01-01T00:00:00Z none always")
		d.calls(t)
		d.check(t, 1, "web is stopped, exit code 2\nprovision: deploy failed after N s: web is stopped, exit code 2\n", "start")
		if got := d.calls(t); strings.Count(got, " up ") != 1 {
			t.Errorf("docker was asked to\n%s", got)
		}
		os.Remove(filepath.Join(d.dir, "state-web"))
	})
}

// Where nothing was good yet, a start is a deploy of what is not well.
func TestDeployStartsFirst(t *testing.T) {
	eachDeploy(t, "", func(t *testing.T, d *deployBox) {
		d.set(t, "state-web", "exited 2 0 2020-01-01T00:00:00Z none always")
		const failed = "web is stopped, exit code 2\nprovision: deploy failed after N s: web is stopped, exit code 2\n"
		d.check(t, 1, failed, "start")
		if got := d.calls(t); got != "compose pull web db\ncompose up --detach --remove-orphans\n" {
			t.Errorf("docker was asked to\n%s", got)
		}
		os.Remove(filepath.Join(d.dir, "state-web"))
		d.set(t, "fail-pull", "no route")
		d.set(t, "fail-pull-web", "no such image")
		d.check(t, 1, "provision: deploy failed after N s: nothing was changed, as web cannot be pulled: no such image\n", "start")
		if got := d.calls(t); got != "compose pull web\ncompose pull --quiet web\n" {
			t.Errorf("docker was asked to\n%s", got)
		}
		os.Remove(filepath.Join(d.dir, "fail-pull"))
		d.check(t, 0, strings.NewReplacer(id2+"\n", id2+" (unchanged)\n", "2 of 2", "1 of 2").Replace(firstGood), "start")
		d.check(t, 0, same, "deploy")
	})
}
