package steps

import (
	"fmt"
	"strconv"

	"provision/provision"
	"provision/provision/hint"
)

// osStep looks at the host itself. It changes nothing: a host that cannot do
// what the other steps need is told so before anything is changed.
type osStep struct{ asUser bool }

func osOf(t target) osStep { return osStep{t.given.AsUser} }

func (osStep) Name() string { return "os" }

func (osStep) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{Text: `
fact uid "$(id -u)"
if [ -d /run/systemd/system ]; then # see sd_booted(3): who mounts /proc with hidepid shows no others
	fact init systemd
else
	fact init "$(cat /proc/1/comm 2>/dev/null)"
fi
for tool in runuser useradd usermod getent flock awk base64 sha256sum mktemp setsid timeout xargs; do
	command -v "$tool" >/dev/null || fact lacks "$tool"
done
fact free "$(df -Pk /var | awk 'NR == 2 { print int($4 / 1024) }')"
`}}
}

// minFree is what a host needs at the least, in MiB: less, and a failed write
// is more likely than a deployment.
const minFree = 100

func (s osStep) Plan(f provision.Facts) ([]provision.Change, error) {
	if f.Get("uid") != "0" && !s.asUser {
		return nil, hint.Add(fmt.Errorf("the login has no rights of root (its user id is %q)", f.Get("uid")),
			"set become to sudo or doas in the inventory")
	}
	if lacks := f["lacks"]; len(lacks) > 0 {
		return nil, hint.Add(fmt.Errorf("the host has no %s", joinAnd(lacks)), "Debian and Ubuntu have them all; other systems need util-linux, shadow and coreutils")
	}
	if init := f.Get("init"); init != "systemd" {
		return nil, fmt.Errorf("the host is started by %q; only systemd is supported", init)
	}
	if free, err := strconv.Atoi(f.Get("free")); err == nil && free < minFree {
		return nil, hint.Add(fmt.Errorf("only %d MiB are free below /var; %d are needed at the least", free, minFree),
			"docker system prune removes what no container uses")
	}
	return nil, nil
}
