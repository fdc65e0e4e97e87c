package provision

import (
	"slices"
	"testing"
)

func TestChange(t *testing.T) {
	for _, tt := range []struct {
		change       Change
		sentence, id string
	}{
		{Change{}, "", "s: "},
		{Change{Verb: Create, Object: "system user u"}, "create system user u", "s: create system user u"},
		{Change{Verb: DockerLogin, Object: "registry.example.com", Remark: "as u"}, "docker login registry.example.com as u", "s: docker login registry.example.com"},
		{Change{Verb: Restart, Object: "docker.service", Interrupts: Interruption{"2 containers", 15}}, "restart docker.service (interrupts 2 containers, about 15 s)", "s: restart docker.service"},
		{Change{Verb: Restart, Object: "docker.service", Interrupts: Interruption{"db", 120}}, "restart docker.service (interrupts db, about 2 min)", "s: restart docker.service"},
	} {
		if got := tt.change.String(); got != tt.sentence {
			t.Errorf("%+v reads %q, want %q", tt.change, got, tt.sentence)
		}
		if got := tt.change.ID("s").String(); got != tt.id && tt.change.Verb != "" {
			t.Errorf("%+v is %q, want %q", tt.change, got, tt.id)
		}
	}
	if verbs := Verbs(); !slices.IsSorted(verbs) || len(slices.Compact(verbs)) != len(Verbs()) {
		t.Errorf("the verbs are %q", verbs)
	}
}
