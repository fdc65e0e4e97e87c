package templates

import (
	"bytes"
	encoding "encoding/json"
	"math/rand"
	"os/exec"
	"strings"
	"testing"

	"provision/e2e/needs"
)

// FuzzServices has the parser and encoding/json read the same projects, as
// Compose writes them and in one line, with each awk.
func FuzzServices(f *testing.F) {
	for seed := range int64(20) {
		f.Add(seed, `"}{[\`)
	}
	f.Fuzz(func(t *testing.T, seed int64, hostile string) {
		random := rand.New(rand.NewSource(seed))
		config := map[string]any{"name": "shop"}
		if services := value(random, hostile, 2); random.Intn(10) > 0 {
			config["services"] = services
		}
		config["x-"+hostile] = value(random, hostile, 3)
		var texts [2][]byte
		var err error
		if texts[0], err = encoding.Marshal(config); err != nil {
			t.Skip(err)
		}
		var pretty bytes.Buffer
		if err := encoding.Indent(&pretty, texts[0], "", "  "); err != nil {
			t.Fatal(err)
		}
		texts[1] = pretty.Bytes()
		var read struct {
			Services map[string]struct {
				Image string
				Build map[string]any
			}
		}
		if err := encoding.Unmarshal(texts[0], &read); err != nil {
			t.Skip("not of the form of a project")
		}
		want := "/project shop\n"
		for name, service := range read.Services {
			line := name + " -"
			if service.Image != "" {
				line = name + " " + service.Image
			}
			if service.Build != nil {
				line += " yes\n"
			} else {
				line += " -\n"
			}
			want += line
		}
		needs.Program(t, "dash")
		for name, awk := range awks {
			needs.Program(t, awk[0])
			for _, text := range texts {
				cmd := exec.Command("dash", "-c", "awk() { "+strings.Join(awk, " ")+` "$@"; }`+"\n"+project+"services")
				cmd.Env = []string{"PATH=" + real, "LC_ALL=C"}
				cmd.Stdin = bytes.NewReader(text)
				out, err := cmd.CombinedOutput()
				if err != nil || sorted(string(out)) != sorted(want) {
					t.Errorf("%s: %v, of\n%s\ngot\n%swant\n%s", name, err, text, out, want)
				}
			}
		}
	})
}

// value is what a project may have, with keys at each depth that mean something
// at another one. At depth 0 there are services, and below them what these have.
func value(random *rand.Rand, hostile string, depth int) any {
	names := []string{"services", "image", "build", "name", "project", "web"}
	made := map[string]any{}
	for range random.Intn(4) {
		name := names[random.Intn(len(names))]
		switch {
		case depth == 2: // services
			made[name] = value(random, hostile, 3)
		case depth == 3 && name == "image":
			made[name] = "r/" + names[random.Intn(len(names))] + ":1"
		case depth == 3 && name == "build":
			made[name] = value(random, hostile, 4)
		case depth > 5 || random.Intn(3) == 0:
			made[name] = []any{hostile, name, `"image":"no"`, 1.5, true, nil}[random.Intn(6)]
		case random.Intn(3) == 0:
			made[name] = []any{value(random, hostile, depth+1), hostile, []any{value(random, hostile, depth+2)}}
		default:
			made[name] = value(random, hostile, depth+1)
			made[hostile] = hostile
			if depth == 3 {
				delete(made, "image") // hostile may be called so
			}
		}
	}
	return made
}
