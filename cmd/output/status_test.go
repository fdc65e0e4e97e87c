package output

import (
	"encoding/json"
	"strings"
	"testing"
)

// A version is what tells one image from another.
func TestVersions(t *testing.T) {
	service := func(image, revision string) Service {
		return Service{Image: image, Digest: "sha256:0123456789abcdef", Revision: revision}
	}
	for _, tt := range []struct {
		services []Service
		want     string
	}{
		{nil, "-"},
		{[]Service{{Name: "missing"}}, "-"},
		{[]Service{service("r.example.com:5000/a/web", "")}, "0123456789ab"},
		{[]Service{service("r.example.com:5000/a/web:latest", "")}, "0123456789ab"},
		{[]Service{service("r.example.com:5000/a/web:1.4", "")}, "1.4"},
		{[]Service{service("web:1", ""), service("db:2", "")}, "1, 2"},
		{[]Service{service("web:1", ""), service("worker:1", ""), service("db:2", ""), service("c:3", ""), service("d:4", "")}, "1, 2 +2"},
		{[]Service{service("web:1", "4d2491d"), service("db:2", "")}, "1 (4d2491d)"},
		{[]Service{{Image: "web", Revision: "4d2491d"}}, "(4d2491d)"},
	} {
		if got := VersionsText(Status{Services: tt.services}.Versions()); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.services, got, tt.want)
		}
	}
}

// What a host says is made visible, and what another version says is not read.
func TestReadStatus(t *testing.T) {
	odd := `"a\u001b[2Jb"`
	text := `{"version":2,"event":"deployment","services":[{"name":` + odd + `,"state":` + odd + `,"health":` + odd + `,"verdict":` + odd + `,"reason":` + odd +
		`,"image":` + odd + `,"digest":` + odd + `,"revision":` + odd + `,"since":` + odd + `}],"deploying":{"since":` + odd + `,"by":` + odd + `},` +
		`"last":{"time":` + odd + `,"by":` + odd + `,"outcome":` + odd + `,"text":` + odd + `},"branch":` + odd + `,"commit":` + odd + `}`
	l, err := ReadStatus(text)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(l)
	if err != nil || strings.Contains(string(got), `\u001b`) || strings.Count(string(got), `a\\x1b[2Jb`) != 17 {
		t.Errorf("%v: %s", err, got)
	}
	for text, want := range map[string]string{
		"":                                   "older",
		`{"Service":"web"}`:                  "older",
		`{"version":1,"event":"deployment"}`: "older",
		`{"version":3,"event":"deployment"}`: "newer",
	} {
		if _, err := ReadStatus(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
