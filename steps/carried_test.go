package steps

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"provision/inventory"
	"provision/provision"
)

// What a deployment is told of others is what is in its place, or in the way of its names, so
// a host with many of them reports no more for each; and unmanaged is told of all.
func TestCarriedByOne(t *testing.T) {
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		folder := filepath.Join(s.dir, "etc/provision/deployments")
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		all := map[string]string{
			"shop": "user=else\ndirectory=shop\n", "before": "user=" + theUser + "\ndirectory=in-shop\n", "shop.OLD2": "user=else\ndirectory=x\n", "labelled": "user=else\ndirectory=l\nstate=shop.2\n",
			"renamed": "user=else\ndirectory=r\nstate=r\nwas=x\nwas=shop\n", "workshop": "user=else\ndirectory=workshop\n", "other": "user=" + theUser + "\ndirectory=in-shop2\nwas=shopping\n",
		}
		for name, text := range all {
			if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for n := range 100 {
			if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("z%d", n)), []byte("user=else\ndirectory=z\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		host := &inventory.Host{Name: "web1"}
		d := &inventory.Deployment{Name: "shop", User: theUser, Directory: "in-shop", Host: host}
		inv := &inventory.Inventory{Hosts: []*inventory.Host{host}, Deployments: []*inventory.Deployment{d}}
		of := target{inv: inv, host: host, deployment: d}
		for _, step := range []provision.Step{namesOf(of), deploySettingsOf(of), leftBehindOf(of)} {
			got := slices.Clone(s.look(t, step)["carried"])
			slices.Sort(got)
			// One that was called shopping begins like the name: it is told, and nothing follows from it.
			if fmt.Sprint(got) != "[before labelled other renamed shop shop.OLD2]" {
				t.Errorf("%s: it is told of %s", step.Name(), strings.Join(got, " "))
			}
		}
		if got := s.look(t, unmanagedOf(of))["carried"]; len(got) != len(all)+100 {
			t.Errorf("unmanaged is told of %d", len(got))
		}
	})
}
