package pages

import (
	"os"
	"path/filepath"
	"testing"
)

const transcript = `$ one \
> --more
first
second

$ two
$ three
last
`

func TestTranscript(t *testing.T) {
	all, err := Commands(transcript)
	if err != nil {
		t.Fatal(err)
	}
	want := []Command{{"one \\\n--more", "first\nsecond\n"}, {"two", ""}, {"three", "last\n"}}
	if len(all) != len(want) {
		t.Fatalf("got %q", all)
	}
	for i := range want {
		if all[i] != want[i] {
			t.Errorf("got %q, want %q", all[i], want[i])
		}
	}
	if got := Transcript(all); got != transcript {
		t.Errorf("written anew it is %q", got)
	}
	if _, err := Commands("no command\n"); err == nil {
		t.Error("output without a command is let through")
	}
}

func TestSame(t *testing.T) {
	for _, c := range []struct {
		shown, printed string
		same           bool
	}{
		{"a\n", "a\n", true},
		{"a\n", "b\n", false},
		{"a\n", "a\nb\n", false},
		{"a\n", "", false},
		{"a\n…\n", "a\nb\nc\n", true},
		{"…\nc\n", "a\nb\nc\n", true},
		{"a\n…\nd\n", "a\nb\nc\n", false},
		{"1 host, 0.2 s\n", "1 host, 11.9 s\n", true},
		{"1 host, 0.2 s\n", "2 hosts, 0.2 s\n", false},
		{"web2: a\nweb1: b\nweb1: c\nend\n", "web1: b\nweb2: a\nweb1: c\nend\n", true},
		{"web1: b\nweb1: c\n", "web1: c\nweb1: b\n", false},
		{"until 2026-01-01\n", "until 2027-11-30\n", true},
		{"2026-01-01 03:04  good by SHA256:abcdefgh…  0\n", "2027-11-30 12:59  good by SHA256:ABC+/123…  0\n", true},
		{"2026-01-01 03:04  good\n", "2027-11-30 12:59  failed\n", false},
		{"ssh-ed25519 AAAA…\n", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC5pD8xXmTv2s5o8jrefxD4xScp82SkYM9QBPp/kMnm0\n", true},
	} {
		if Same(c.shown, c.printed) != c.same {
			t.Errorf("%q and %q: want %t", c.shown, c.printed, c.same)
		}
	}
}

func TestReplace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.md")
	const text = "# A\n\n```console on=web1\n$ a\nold\n```\n<!-- lab: push -->\n\n```toml\nx = 1\n```\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Parts) != 3 || p.Parts[0].Language() != "console" || p.Parts[0].Value("on") != "web1" || p.Parts[1].Scene != "push" || p.Parts[2].Text != "x = 1\n" {
		t.Fatalf("read %+v", p.Parts)
	}
	if err := p.Replace(map[int]string{p.Parts[0].Line: "$ a\nnew\nmore\n"}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := "# A\n\n```console on=web1\n$ a\nnew\nmore\n```\n<!-- lab: push -->\n\n```toml\nx = 1\n```\n"; string(got) != want {
		t.Errorf("wrote %q", got)
	}
}
