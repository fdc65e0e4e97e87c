package cmd

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"provision/e2e/needs"
	"provision/inventory"
)

// inFolder makes a folder with an inventory, and works in it or in a folder of it.
func inFolder(t *testing.T, below string) (dir string) {
	t.Helper()
	t.Setenv(inventoryVariable, "")
	dir = t.TempDir()
	if err := os.CopyFS(dir, inventory.Example); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "example.toml"), filepath.Join(dir, inventoryName)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{filepath.Dir(dir), dir, filepath.Join(dir, inventoryName)} { // whatever the umask
		if err := os.Chmod(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, below), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Join(dir, below))
	return dir
}

func runs(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = Run(t.Context(), Env{Args: append([]string{"provision"}, args...), Stdout: &stdout, Stderr: &stderr})
	return code, stdout.String(), stderr.String()
}

// An inventory need not be named: it is found here, above, or by a variable.
func TestFoundInventory(t *testing.T) {
	for _, tt := range []struct{ below, variable, using string }{
		{"", "", "inventory.toml"},
		{"a", "", "../inventory.toml"},
		{"a/b c", "", "../../inventory.toml"},
		{"a", "../inventory.toml", "../inventory.toml ($PROVISION_INVENTORY)"},
	} {
		inFolder(t, tt.below)
		t.Setenv(inventoryVariable, tt.variable)
		code, out, errs := runs(t, "check")
		file, _, _ := strings.Cut(tt.using, " ")
		if code != 0 || errs != "provision: using "+tt.using+"\n" || !strings.HasPrefix(out, file+" is ok: ") {
			t.Errorf("%+v: exit code %d\n%s%s", tt, code, out, errs)
		}
	}

	dir := inFolder(t, "a")
	if code, out, errs := runs(t, "check", "../inventory.toml"); code != 0 || errs != "" {
		t.Errorf("one that is named: exit code %d\n%s%s", code, out, errs)
	}
	t.Setenv(inventoryVariable, "../other.toml")
	if code, _, errs := runs(t, "check"); code != exitUsage || !strings.Contains(errs, "../other.toml: there is no such file") {
		t.Errorf("a variable that names none: exit code %d\n%s", code, errs)
	}
	t.Setenv(inventoryVariable, "")
	if err := os.Rename(filepath.Join(dir, inventoryName), filepath.Join(dir, "fleet.toml")); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := runs(t, "plan"); code != exitUsage || errs != "provision: there is no inventory.toml here or in a folder above\n  hint: provision init writes one; or: provision plan INVENTORY\n" {
		t.Errorf("none: exit code %d\n%s", code, errs)
	}
}

// What nobody has named may be nobody else's.
func TestFoundInventoryOfOthers(t *testing.T) {
	needs.Root(t)
	for _, tt := range []struct {
		name  string
		spoil func(dir string) error
		why   string // DIR is the folder; "": it is used
	}{
		{"as it was", func(string) error { return nil }, ""},
		{"the file of another user", func(dir string) error { return os.Lchown(dir+"/inventory.toml", 4711, 4711) }, "DIR/inventory.toml belongs to another user"},
		{"a file that a group writes", func(dir string) error { return os.Chmod(dir+"/inventory.toml", 0o664) }, "others can write to DIR/inventory.toml"},
		{"a file that all write", func(dir string) error { return os.Chmod(dir+"/inventory.toml", 0o646) }, "others can write to DIR/inventory.toml"},
		{"the folder of another user", func(dir string) error { return os.Chown(dir, 4711, 4711) }, "DIR belongs to another user"},
		{"a folder that all write", func(dir string) error { return os.Chmod(dir, 0o777) }, "others can write to DIR"},
		{"a folder where others put only what is theirs", func(dir string) error { return os.Chmod(dir, 0o777|os.ModeSticky) }, ""},
		{"a folder above", func(dir string) error { return os.Chown(filepath.Dir(dir), 4711, 4711) }, "ABOVE belongs to another user"},
		{"a link to what another user has", func(dir string) error {
			other := filepath.Dir(dir) + "/other"
			if err := os.Mkdir(other, 0o755); err != nil {
				return err
			}
			if err := os.Rename(dir+"/inventory.toml", other+"/x.toml"); err != nil {
				return err
			}
			if err := os.Symlink(other+"/x.toml", dir+"/inventory.toml"); err != nil {
				return err
			}
			return os.Chown(other, 4711, 4711)
		}, "ABOVE/other belongs to another user"},
		{"a link that another user has made", func(dir string) error {
			if err := os.Rename(dir+"/inventory.toml", dir+"/x.toml"); err != nil {
				return err
			}
			if err := os.Symlink("x.toml", dir+"/inventory.toml"); err != nil {
				return err
			}
			return os.Lchown(dir+"/inventory.toml", 4711, 4711)
		}, "DIR/inventory.toml belongs to another user"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := inFolder(t, "below")
			if err := tt.spoil(dir); err != nil {
				t.Fatal(err)
			}
			code, out, errs := runs(t, "check")
			if tt.why == "" {
				if code != 0 {
					t.Errorf("exit code %d\n%s%s", code, out, errs)
				}
				return
			}
			why := strings.NewReplacer("DIR", dir, "ABOVE", filepath.Dir(dir)).Replace(tt.why)
			want := "provision: ../inventory.toml is not used, as " + why + ", and an inventory can name commands to run\n  hint: if you trust it: provision check ../inventory.toml\n"
			if code != exitUsage || errs != want {
				t.Errorf("exit code %d\n%s%swant\n%s", code, out, errs, want)
			}
			if code, _, _ := runs(t, "check", "../inventory.toml"); code != 0 {
				t.Errorf("one that is named ends with %d", code)
			}
		})
	}
}

func TestMisspelledInventory(t *testing.T) {
	dir := inFolder(t, "")
	for arg, want := range map[string]string{
		"inventry.toml":        "inventry.toml: there is no such file; did you mean inventory.toml?\n",
		dir + "/Inventory.tom": dir + "/Inventory.tom: there is no such file; did you mean " + dir + "/inventory.toml?\n",
		"inventory":            "inventory: there is no such file; did you mean inventory.toml?\n",
		"overrides":            "overrides is a folder\n",
		".":                    ". is a folder; did you mean inventory.toml?\n",
		"fleet.toml":           "fleet.toml: there is no such file\n  hint: provision apply [flags] [INVENTORY]\n",
	} {
		if code, _, errs := runs(t, "apply", arg); code != exitUsage || strings.TrimPrefix(errs, "provision: ") != want {
			t.Errorf("%s: exit code %d, %s", arg, code, errs)
		}
	}
}

// The jobs of CI work at the top of the git project.
func TestFoundInventoryInCI(t *testing.T) {
	dir := inFolder(t, "a/b")
	render := func() string {
		t.Helper()
		code, out, errs := runs(t, "render", "ci", "--verify", "--image", "example/provision")
		if code != 0 {
			t.Fatalf("exit code %d\n%s%s", code, out, errs)
		}
		return out
	}
	if out := render(); !strings.Contains(out, "PROVISION_INVENTORY: inventory.toml\n") {
		t.Errorf("without a project:\n%s", out)
	}
	if err := os.Mkdir(filepath.Join(filepath.Dir(dir), ".git"), 0o755); err != nil {
		t.Fatal(err)
	}
	if out := render(); !strings.Contains(out, "PROVISION_INVENTORY: "+filepath.Base(dir)+"/inventory.toml\n") {
		t.Errorf("in a project:\n%s", out)
	}
}
