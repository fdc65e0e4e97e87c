package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

//go:embed playbook.yml
var playbook []byte

//go:embed pyinfra.py
var deploy []byte

// repository is what the playbook clones.
const repository = `
git init --quiet /srv/work
git -C /srv/work -c user.name=bench -c user.email=bench@example.com commit --quiet --allow-empty --message begin
git clone --quiet --bare /srv/work /srv/app.git
`

// ansible runs a playbook that wants much the same of web1, when that is so.
func (b *bench) ansible() ([]row, error) {
	version, err := b.command(0, "ansible-playbook", "--version")
	if errors.Is(err, exec.ErrNotFound) {
		return []row{{what: "to compare: Ansible", ours: "not on this machine"}}, nil
	} else if err != nil {
		return nil, err
	}
	_, version, _ = strings.Cut(version, "core ")
	version, _, _ = strings.Cut(version, "]")
	web1 := b.world.Hosts["web1"]
	if _, err := web1.Exec(b.ctx, "set -eu\n"+repository); err != nil {
		return nil, err
	}
	book, hosts := filepath.Join(b.dir, "playbook.yml"), filepath.Join(b.dir, "hosts.ini")
	for file, text := range map[string]string{
		book: string(playbook),
		hosts: fmt.Sprintf("%s ansible_user=%s ansible_ssh_private_key_file=%s ansible_python_interpreter=/usr/bin/python3 "+
			"ansible_ssh_common_args='-F none -o IdentitiesOnly=yes -o UserKnownHostsFile=%s'\n", web1.Name, login, b.identity, b.known),
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	env := b.env
	defer func() { b.env = env }()
	// Its connection stays open from run to run, which is to its advantage.
	b.env = append(b.env[:len(b.env):len(b.env)], "LC_ALL=C.UTF-8", "ANSIBLE_PIPELINING=True", "ANSIBLE_NOCOLOR=1")
	play := func() (time.Duration, error) {
		start := time.Now()
		_, err := b.command(0, "ansible-playbook", "-i", hosts, book)
		return time.Since(start), err
	}
	if _, err := play(); err != nil {
		return nil, err
	}
	out, err := b.command(0, "ansible-playbook", "-i", hosts, book)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(out, "changed=0 ") {
		return nil, fmt.Errorf("the playbook does not converge: %s", lastLine(out))
	}
	times, err := inTurns(max(1, *rounds/5), play, b.ssh(web1.Name))
	if err != nil {
		return nil, err
	}
	return []row{ratio(fmt.Sprintf("to compare: ansible-core %s, a playbook of nine settings that are in place, pipelining on; floor: `ssh HOST true`", version), times[0], times[1], 0)}, nil
}

// pyinfra does so with what provision has put there. It is no package of Debian.
func (b *bench) pyinfra() ([]row, error) {
	if _, err := exec.LookPath("pyinfra"); err != nil {
		return []row{{what: "to compare: pyinfra", ours: "not on this machine"}}, nil
	}
	file := filepath.Join(b.dir, "deploy.py")
	if err := os.WriteFile(file, deploy, 0o644); err != nil {
		return nil, err
	}
	web1 := b.world.Hosts["web1"]
	times, err := inTurns(max(1, *rounds/5), b.timed(0, "pyinfra", "--yes", web1.Name, "--user", login, "--key", b.identity, file), b.ssh(web1.Name))
	if err != nil {
		return nil, err
	}
	return []row{ratio("to compare: pyinfra, nine settings that are in place; floor: `ssh HOST true`", times[0], times[1], 0)}, nil
}
