package cmd

import (
	"errors"
	"testing"

	"provision/inventory"
)

func TestModeOf(t *testing.T) {
	for _, tt := range []struct {
		name string
		setting
		want mode // the zero mode: there is none
	}{
		{name: "an admin who asks for it", setting: setting{as: asAdmin},
			want: mode{as: asAdmin, key: noKey}},
		{name: "an admin with a token", setting: setting{as: asAdmin, token: true, sshAuth: "f", terminal: true},
			want: mode{as: asAdmin, key: noKey, token: true}},
		{name: "an admin in a job of an environment", setting: setting{as: asAdmin, environment: "production"},
			want: mode{as: asAdmin, key: noKey}},
		{name: "a job", setting: setting{as: asCI, sshAuth: "f", environment: "production"},
			want: mode{as: asCI, key: keyInFile, file: "f", from: "$SSH_AUTH", scope: "production"}},
		{name: "a job that is about some hosts", setting: setting{as: asCI, sshAuth: "f", environment: "production", limited: true},
			want: mode{as: asCI, key: keyInFile, file: "f", from: "$SSH_AUTH"}},
		{name: "a job with a token", setting: setting{as: asCI, sshAuth: "f", token: true},
			want: mode{as: asCI, key: keyInFile, file: "f", from: "$SSH_AUTH", token: true}},
		{name: "a key of somebody", setting: setting{as: asCI, key: "k", sshAuth: "f", terminal: true},
			want: mode{as: asCI, key: keyInFile, file: "k", from: "--key"}},
		{name: "a token alone", setting: setting{as: asCI, token: true, terminal: true},
			want: mode{as: asCI, key: keyInGitLab, token: true}},
		{name: "a token in a job of an environment", setting: setting{as: asCI, token: true, environment: "staging"},
			want: mode{as: asCI, key: keyInGitLab, token: true, scope: "staging"}},
		{name: "a terminal alone", setting: setting{as: asCI, terminal: true, environment: "staging"},
			want: mode{as: asAdmin, key: noKey, unasked: true}},
		{name: "nothing", setting: setting{as: asCI, environment: "staging"}},
	} {
		got, err := modeOf(tt.setting)
		if got != tt.want || errors.As(err, new(usageError)) != (tt.want == mode{}) {
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
		if got := hasToken(tt.token, func(string) string { return tt.value }); got != tt.want {
			t.Errorf("%+v: %t", tt.token, got)
		}
	}
}
