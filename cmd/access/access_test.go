package access_test

import (
	"cmp"
	"encoding/xml"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"provision/cmd/access"
	"provision/inventory"
)

var update = flag.Bool("update", false, "write the maps of testdata anew")

var formats = map[string]func(access.Map, io.Writer) error{
	"svg": access.Map.SVG, "mermaid": access.Map.Mermaid, "dot": access.Map.Dot,
}

// The example, in every format. After an update, look at what came out: as an
// image, in a page of GitLab, and through dot(1).
func TestFormats(t *testing.T) {
	inv, err := inventory.Load("../../inventory/example.toml")
	if err != nil {
		t.Fatal(err)
	}
	for format, write := range formats {
		var b strings.Builder
		if err := write(access.Of(inv, inv.Deployments), &b); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", "example."+format)
		if *update {
			if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if b.String() != string(want) {
			t.Errorf("%s is not what it was; -update writes it anew:\n%s", file, &b)
		}
	}
}

// The image has its colours where no style sheet is known: what is drawn without
// one is black.
func TestPlainSVG(t *testing.T) {
	text, err := os.ReadFile("testdata/example.svg")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "var(") {
		t.Error("a colour is a variable, which browsers know and not much else")
	}
	attribute := func(e xml.StartElement, name string) string {
		for _, a := range e.Attr {
			if a.Name.Local == name {
				return a.Value
			}
		}
		return ""
	}
	drawn := map[string]int{}
	fills := []string{""} // of the elements that are open
	for d := xml.NewDecoder(strings.NewReader(string(text))); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			fill := cmp.Or(attribute(e, "fill"), fills[len(fills)-1])
			fills = append(fills, fill)
			switch class := attribute(e, "class"); {
			case fill == "" && e.Name.Local != "style":
				t.Errorf("%s %q is black", e.Name.Local, class)
			case class == "way" && attribute(e, "stroke") == "":
				t.Errorf("%s %q cannot be seen", e.Name.Local, class)
			}
			drawn[e.Name.Local+" "+fill]++
		case xml.EndElement:
			fills = fills[:len(fills)-1]
		}
	}
	if drawn["rect #f4f5f7"] != 1 || drawn["rect #ffffff"] < 10 || drawn["text #a3231b"] < 10 || drawn["text #5c606b"] < 10 {
		t.Errorf("it is drawn as %v", drawn)
	}
}

// What stands on the way of each deployment, and what its credentials open.
func TestOf(t *testing.T) {
	web1, web2 := &inventory.Host{Name: "web1", Address: "a.example"}, &inventory.Host{Name: "web2", Address: "b.example", CIAddress: "ci.example"}
	deployment := func(name string, host *inventory.Host, user, project string, v inventory.Variables) *inventory.Deployment {
		return &inventory.Deployment{Name: name, Host: host, User: user, Project: project, Directory: name, Scope: "*", Variables: v, TokenGroup: "acme"}
	}
	inv := &inventory.Inventory{
		GitLab:   inventory.GitLab{URL: "https://git.example"},
		Registry: inventory.Registry{Host: "registry.example", Credential: inventory.Credential{Kind: inventory.Named, Username: "reader"}},
		Hosts:    []*inventory.Host{web1, web2},
		Deployments: []*inventory.Deployment{
			deployment("shop", web1, "u", "acme/shop", inventory.Variables{Group: "acme"}),
			deployment("blog", web2, "u", "acme/blog", inventory.Variables{Projects: []string{"acme/blog", "acme/web"}, Prefix: "BLOG_"}),
			deployment("wiki", web1, "u", "acme/wiki", inventory.Variables{Group: "acme"}),
		},
	}
	inv.Registries = []*inventory.Registry{{Name: "hub", Host: "docker.io", Credential: inventory.Credential{Kind: inventory.Named, Username: "puller"}}, {Name: "public", Host: "public.example"}}
	inv.Deployments[2].Registries = inv.Registries
	m := access.Of(inv, inv.Deployments)
	if c := m.Paths[1][5]; !slices.Equal(c.Lines, []string{"by login reader", "and docker.io by login puller"}) || c.Stolen != "all that reader may do there; all that puller may do at docker.io" {
		t.Errorf("of a further registry it says %q, %q", c.Lines, c.Stolen)
	}
	var got []string
	for _, p := range m.Paths {
		var names []string
		for _, c := range p {
			names = append(names, c.Kind+" "+c.Name)
		}
		got = append(got, strings.Join(names, " > "))
	}
	want := []string{ // those of one group stand side by side
		"group acme > variable SSH_AUTH > user u@web1 > command gate shop > Compose project shop > registry registry.example",
		"group acme > variable SSH_AUTH > user u@web1 > command gate wiki > Compose project wiki > registry registry.example",
		"projects acme/blog, acme/web > variable BLOG_SSH_AUTH > user u@web2 > command gate blog > Compose project blog > registry registry.example",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, c := range []struct{ got, want string }{
		{m.Paths[0][1].Lines[0], "for every environment"},
		{m.Paths[0][4].Stolen, "reads acme/shop and acme/wiki, cannot push"}, // one key of one user
		{m.Paths[2][4].Stolen, "reads acme/blog, cannot push"},
		{m.Paths[2][2].Lines[0], "at ci.example"},
		{m.Paths[0][5].Stolen, "all that reader may do there"},
		{m.Paths[0][0].Stolen + m.Paths[0][3].Stolen, ""},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
	part := access.Of(inv, inv.Deployments[1:2])
	if strings.Contains(strings.Join(part.Admin.Lines, " "), "web1") || len(part.Paths) != 1 {
		t.Errorf("a part has more than it should: %+v", part)
	}
}

// A name is cut at a hyphen only where it is too wide for a line of its own.
func TestNamesStayWhole(t *testing.T) {
	h := &inventory.Host{Name: "shop1", Address: "shop-host.example.com"}
	d := &inventory.Deployment{Name: "shop-production", Host: h, User: "deploy-shop", Project: "transmogrify/web-shop", Directory: "a-name-that-is-too-wide-for-a-line",
		Scope: "*", Variables: inventory.Variables{Group: "transmogrify"}, TokenGroup: "transmogrify"}
	inv := &inventory.Inventory{Registry: inventory.Registry{Host: "registry.example.com"}, Deployments: []*inventory.Deployment{d}}
	text := access.Of(inv, inv.Deployments).Inline()
	for _, line := range []string{"deploy-shop@", "shop1", "at shop-host.example.", "by deploy key", "deploy-shop@shop1", "gate", "shop-production", "clone of transmogrify/", "web-shop", "shop-production on", "a-name-that-is-"} {
		if !strings.Contains(text, ">"+line+"</text>") {
			t.Errorf("no line is %q:\n%s", line, text)
		}
	}
}

// No inventory has names like these, but a map does not depend on that.
func TestHostile(t *testing.T) {
	const evil = "</title><script>alert(1)</script>]]>\" --> x[\"y\"]; \\N end\n%%{init}%% #quot; &lt; `_*` \x1b[2J\u202e]"
	h := &inventory.Host{Name: evil, Address: evil}
	d := &inventory.Deployment{Name: evil, Host: h, Project: evil, User: evil, Directory: evil, Scope: evil, Variables: inventory.Variables{Group: evil}, TokenGroup: evil}
	inv := &inventory.Inventory{GitLab: inventory.GitLab{URL: evil}, Registry: inventory.Registry{Host: evil}, Deployments: []*inventory.Deployment{d}}
	m := access.Of(inv, inv.Deployments)
	out := map[string]string{}
	for format, write := range formats {
		var b strings.Builder
		if err := write(m, &b); err != nil {
			t.Fatal(err)
		}
		out[format] = b.String()
		if strings.ContainsAny(out[format], "\x1b\u202e") {
			t.Errorf("%s has characters that hide text", format)
		}
	}

	elements := map[string]bool{}
	for d := xml.NewDecoder(strings.NewReader(out["svg"])); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("the SVG is no XML: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok {
			elements[e.Name.Local] = true
		}
	}
	for name := range elements {
		if !strings.Contains(" svg title desc style rect text g path ", " "+name+" ") {
			t.Errorf("the SVG has an element %s", name)
		}
	}

	// Of both languages every line is one of ours, with one text in quotation marks.
	for _, format := range []string{"mermaid", "dot"} {
		for line := range strings.Lines(out[format]) {
			text := strings.NewReplacer(`\\`, "", `\"`, "").Replace(line)
			if n := strings.Count(text, `"`); n != 0 && n != 2 && !strings.Contains(line, "fontname") {
				t.Errorf("%s: %d quotation marks in %s", format, n, line)
			}
			if format == "mermaid" {
				label := strings.ReplaceAll(text, "<br/>", "")
				if _, label, _ = strings.Cut(label, `"`); strings.ContainsAny(label, "<>&`%\\") {
					t.Errorf("mermaid: a label has markup: %s", line)
				}
			}
		}
	}
	if n := strings.Count(out["mermaid"], "-->"); n != len(access.Columns)-1 {
		t.Errorf("the mermaid diagram has %d arrows:\n%s", n, out["mermaid"])
	}
}
