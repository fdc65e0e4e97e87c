package verify

import (
	"errors"
	"testing"

	"provision/cmd/usage"
	"provision/inventory"
)

func TestModeOf(t *testing.T) {
	for _, tt := range []struct {
		name string
		Setting
		want Mode // the zero Mode: there is none
	}{
		{name: "an admin who asks for it", Setting: Setting{As: Admin},
			want: Mode{As: Admin, Key: NoKey}},
		{name: "an admin who wants no notes", Setting: Setting{As: Admin, Strict: true},
			want: Mode{As: Admin, Key: NoKey, Strict: true}},
		{name: "an admin with a token", Setting: Setting{As: Admin, Token: true, SSHAuth: "f", Terminal: true},
			want: Mode{As: Admin, Key: NoKey, Token: true, Left: true}},
		{name: "an admin in a job of an environment", Setting: Setting{As: Admin, Environment: "production"},
			want: Mode{As: Admin, Key: NoKey}},
		{name: "a job", Setting: Setting{As: CI, SSHAuth: "f", Environment: "production"},
			want: Mode{As: CI, Key: KeyInFile, File: "f", From: "$SSH_AUTH", Scope: "production"}},
		{name: "a job that is about some hosts", Setting: Setting{As: CI, SSHAuth: "f", Environment: "production", Limited: true},
			want: Mode{As: CI, Key: KeyInFile, File: "f", From: "$SSH_AUTH"}},
		{name: "a job with a token", Setting: Setting{As: CI, SSHAuth: "f", Token: true},
			want: Mode{As: CI, Key: KeyInFile, File: "f", From: "$SSH_AUTH", Token: true, Left: true}},
		{name: "a key of somebody", Setting: Setting{As: CI, Key: "k", SSHAuth: "f", Terminal: true},
			want: Mode{As: CI, Key: KeyInFile, File: "k", From: "--key"}},
		{name: "a token alone", Setting: Setting{As: CI, Token: true, Terminal: true},
			want: Mode{As: CI, Key: KeyInGitLab, Token: true, Left: true}},
		{name: "a token in a job of an environment", Setting: Setting{As: CI, Token: true, Environment: "staging"},
			want: Mode{As: CI, Key: KeyInGitLab, Token: true, Left: true, Scope: "staging"}},
		{name: "a token, for some hosts", Setting: Setting{As: Admin, Token: true, Limited: true},
			want: Mode{As: Admin, Key: NoKey, Token: true}},
		{name: "a token, the first shard", Setting: Setting{As: Admin, Token: true, Shard: Shard{1, 2}},
			want: Mode{As: Admin, Key: NoKey, Token: true, Left: true}},
		{name: "a token, another shard", Setting: Setting{As: Admin, Token: true, Shard: Shard{2, 2}},
			want: Mode{As: Admin, Key: NoKey, Token: true}},
		{name: "a terminal alone", Setting: Setting{As: CI, Terminal: true, Environment: "staging"},
			want: Mode{As: Admin, Key: NoKey, Unasked: true}},
		{name: "nothing", Setting: Setting{As: CI, Environment: "staging"}},
	} {
		got, err := ModeOf(tt.Setting)
		if got != tt.want || errors.As(err, new(usage.Error)) != (tt.want == Mode{}) {
			t.Errorf("%s: got %+v, %v; want %+v", tt.name, got, err, tt.want)
		}
	}
}

func TestHasToken(t *testing.T) {
	for _, tt := range []struct {
		token inventory.Secret
		value string
		want  bool
	}{
		{inventory.Secret{Env: "T"}, "", false},
		{inventory.Secret{Env: "T"}, "x", true},
		{inventory.Secret{File: "token"}, "", true},
		{inventory.Secret{Command: []string{"pass"}}, "", true},
	} {
		if got := HasToken(tt.token, func(string) string { return tt.value }); got != tt.want {
			t.Errorf("%+v: %t", tt.token, got)
		}
	}
}
