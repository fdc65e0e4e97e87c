package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// plainDeploy is what a deploy with nothing new cannot do without where nobody
// asks how it ends: Compose pulls, and looks whether something is to be started.
const plainDeploy = `#!/bin/sh
set -eu
who=$(id -un)
cd "$(getent passwd "$who" | cut -d : -f 6)/$1"
exec 9<.
flock -w 1800 9
logger -t bench "a deploy by $who"
env -i "HOME=$HOME" "PATH=$PATH" docker compose pull 9<&-
env -i "HOME=$HOME" "PATH=$PATH" docker compose up --detach 9<&-
logger -t bench "a deploy by $who has ended"
`

// deploys compares a deploy that has nothing new to bring with one that says
// and decides nothing.
func (b *bench) deploys() ([]row, error) {
	d := b.world.Inventory.Deployments[0]
	auth, ok := b.world.GitLab.Variable(group, d.Variables.Key("SSH_AUTH"), d.Scope)
	if !ok {
		return nil, fmt.Errorf("%s has no key", d.Name)
	}
	text, err := auth.Value.Reveal()
	if err != nil {
		return nil, err
	}
	key := filepath.Join(b.dir, "ci-key")
	if err := os.WriteFile(key, []byte(text), 0o600); err != nil {
		return nil, err
	}
	if _, err := b.world.Hosts["web1"].Exec(b.ctx, `
printf '%s' "$1" >/usr/local/bin/plain-deploy
chmod 755 /usr/local/bin/plain-deploy
printf 'restrict,command="/usr/local/bin/plain-deploy %s" %s\n' "$3" "$(cat /home/admin/.ssh/authorized_keys | grep -o 'ssh-ed25519 [^ ]*' | head -n 1)" >>"$(getent passwd "$2" | cut -d : -f 6)/.ssh/authorized_keys"
`, plainDeploy, d.User, d.Directory); err != nil {
		return nil, err
	}
	with := func(identity string) timed {
		return b.timed(0, "ssh", "-nT", "-F", "none", "-i", identity, "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes",
			"-o", "UserKnownHostsFile="+b.known, d.User+"@"+b.world.Hosts["web1"].Name, "deploy")
	}
	times, err := inTurns(*rounds, with(key), with(b.identity))
	if err != nil {
		return nil, err
	}
	return []row{ratio("a deploy with nothing new, over `ssh`; floor: `docker compose pull` and `up`, which say and decide nothing", times[0], times[1], 1.1)}, nil
}
