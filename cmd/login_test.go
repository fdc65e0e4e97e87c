package cmd

import (
	"strings"
	"testing"

	"provision/e2e/needs"
	"provision/inventory"
	"provision/provision/hint"
	"provision/steps"
)

// OpenSSH takes where each deployment is.
func TestTryTarget(t *testing.T) {
	needs.Program(t, "ssh")
	for _, tt := range []struct {
		address string
		port    int
		want    string
	}{
		{"deploy-host.example.com", 0, "ssh://deploy-x@deploy-host.example.com"},
		{"deploy-host.example.com", 2222, "ssh://deploy-x@deploy-host.example.com:2222"},
		{"Web_1", 22, "ssh://deploy-x@Web_1:22"},
		{"192.0.2.1", 2222, "ssh://deploy-x@192.0.2.1:2222"},
		{"2001:db8::1", 0, "deploy-x@2001:db8::1"},
	} {
		d := &inventory.Deployment{User: "deploy-x", Host: &inventory.Host{Address: tt.address, Port: tt.port}}
		if got := steps.DeployTarget(d); !strings.HasPrefix(tt.want, got) {
			t.Errorf("the target is %s, want %s", got, tt.want)
		}
		if err := tryTarget(t.Context(), d); err != nil {
			t.Error(err)
		}
	}
	// Whatever comes out as something else is told.
	d := &inventory.Deployment{User: "deploy-x", Host: &inventory.Host{Address: "web1@elsewhere"}}
	err := tryTarget(t.Context(), d)
	if err == nil || !strings.Contains(err.Error(), "does not take ssh://deploy-x@web1@elsewhere for deploy-x on web1@elsewhere port 22") || hint.Of(err) == nil {
		t.Errorf("%v", err)
	}
}
