package output

import "testing"

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
