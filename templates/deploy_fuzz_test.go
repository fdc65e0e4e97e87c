package templates

import (
	"bytes"
	"cmp"
	encoding "encoding/json"
	"fmt"
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
				Image         string
				Build         map[string]any
				Scale         *int
				ContainerName string `json:"container_name"`
				Deploy        struct{ Replicas *int }
				Ports         []struct {
					IP                  string `json:"host_ip"`
					Published, Protocol string
				}
				Volumes []struct{ Type, Source string }
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
			built, count := "-", 1
			if service.Build != nil {
				built = "yes"
			}
			if service.Deploy.Replicas != nil {
				count = *service.Deploy.Replicas
			}
			if service.Scale != nil {
				count = *service.Scale
			}
			want += fmt.Sprintf("%s %s %d\n", line, built, count)
			if service.ContainerName != "" {
				want += "/named " + service.ContainerName + " " + name + "\n"
			}
			for _, p := range service.Ports {
				if p.Published != "" {
					want += "/port " + cmp.Or(p.IP, "-") + " " + p.Published + " " + p.Protocol + " " + name + "\n"
				}
			}
			for _, v := range service.Volumes {
				if v.Type == "bind" {
					want += "/mount " + name + " " + v.Source + "\n"
				}
				if v.Type == "volume" && v.Source != "" {
					want += "/volume " + name + " " + v.Source + "\n"
				}
			}
		}
		needs.Program(t, "dash")
		for name, awk := range awks {
			needs.Program(t, awk[0])
			for _, text := range texts {
				cmd := exec.Command("dash", "-c", "awk() { "+strings.Join(awk, " ")+` "$@"; }`+"\n"+Wants+"services")
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
	names := []string{"services", "image", "build", "name", "project", "web", "scale", "deploy", "replicas", "ports", "volumes", "published", "source", "container_name"}
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
		case depth == 3 && name == "scale":
			made[name] = random.Intn(3)
		case depth == 3 && name == "container_name":
			made[name] = "the-" + names[random.Intn(len(names))]
		case depth == 3 && name == "deploy":
			made[name] = map[string]any{"replicas": random.Intn(3), "resources": value(random, hostile, 5)}
		case depth == 3 && name == "ports":
			made[name] = []any{
				map[string]any{"host_ip": "::1", "target": 80, "published": "80", "protocol": "tcp", "x": value(random, hostile, 6)},
				map[string]any{"target": 80, "protocol": "tcp"},
				map[string]any{"protocol": "udp", "published": "53"},
			}[random.Intn(3):]
		case depth == 3 && name == "volumes":
			made[name] = []any{
				map[string]any{"type": "bind", "source": "/srv/a b", "bind": value(random, hostile, 6)},
				map[string]any{"type": "volume", "source": "data"},
			}[random.Intn(2):]
		case depth > 5 || random.Intn(3) == 0:
			made[name] = []any{hostile, name, `"image":"no"`, 1.5, true, nil}[random.Intn(6)]
		case random.Intn(3) == 0:
			made[name] = []any{value(random, hostile, depth+1), hostile, []any{value(random, hostile, depth+2)}}
		default:
			made[name] = value(random, hostile, depth+1)
			made[hostile] = hostile
			if depth == 3 {
				for _, name := range []string{"image", "scale", "deploy", "ports", "volumes", "container_name"} {
					if _, ok := made[name].(string); ok && made[name] == hostile {
						delete(made, name) // hostile may be called so
					}
				}
			}
		}
	}
	return made
}
