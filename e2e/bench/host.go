package main

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"provision/e2e/lab"
	"provision/e2e/rehearsal"
	"provision/inventory"
)

//go:embed playbook.yaml
var playbook string

// oneHost is the inventory of one host with one deployment.
const oneHost = `
[gitlab]
url = "https://git.bench.example.com"
host_keys = ["` + hostKey + `"]
[registry]
host = "registry.bench.example.com"
[hosts.web1]
address = "web1.bench.example.com"
user = "admin"
[deployments.app]
host = "web1"
project = "transmogrify/frobnicator"
user = "deploy-user"
directory = "frobnicator"
environment = "production"
variables = { group = "transmogrify" }
`

const (
	roundTrip = 100 * time.Millisecond
	rounds    = 11
)

// host measures what is done to one host, near and far.
func (b *bench) host(ctx context.Context) error {
	world, err := b.world(ctx)
	if err != nil {
		return err
	}
	defer world.Close()
	host := world.Hosts["web1"]
	near, err := b.write(world, "near.toml")
	if err != nil {
		return err
	}

	// The far address of the host is a relay.
	address, err := b.lab.Name("far.bench.example.com")
	if err != nil {
		return err
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(address, 22)))
	if err != nil {
		return err
	}
	defer l.Close()
	go relay(l, netip.AddrPortFrom(host.Address, uint16(host.Port)).String(), roundTrip/2)
	world.Inventory.Hosts[0].Address = "far.bench.example.com"
	far, err := b.write(world, "far.toml")
	if err != nil {
		return err
	}

	identity, err := b.lab.Identity()
	if err != nil {
		return err
	}
	known := filepath.Join(b.dir, "known_hosts")
	var lines strings.Builder
	for _, key := range host.HostKeys {
		fmt.Fprintf(&lines, "web1.bench.example.com,far.bench.example.com %s\n", key)
	}
	if err := os.WriteFile(known, []byte(lines.String()), 0o644); err != nil {
		return err
	}
	login := func(name string) *command {
		return &command{name: "ssh " + name, args: []string{"ssh", "-o", "UserKnownHostsFile=" + known, "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes",
			"-i", identity, host.Admin + "@" + name, "true"}}
	}
	provision := func(file string, args ...string) *command {
		return &command{name: strings.Join(args, " "), args: append(append([]string{b.program}, args...), file)}
	}
	if err := b.bare(ctx, near, far, login("web1.bench.example.com"), login("far.bench.example.com"), provision); err != nil {
		return err
	}

	ssh, apply, verify := login("web1.bench.example.com"), provision(near, "apply"), provision(near, "verify")
	commands := append([]*command{ssh, apply, verify}, b.others(near, host, identity, known)...)
	if err := interleave(ctx, rounds, commands...); err != nil {
		return err
	}
	b.table.note("`ssh HOST true`", ms(ssh.median()))
	for _, c := range []*command{apply, verify} {
		ratio := c.against(ssh)
		b.table.add("converged `"+c.name+"`, to `ssh HOST true`", fmt.Sprintf("%s: × %.2f (%s of it our own CPU)", ms(c.median()), ratio, ms(c.cpu)), "≤ × 1.3", ratio <= 1.3)
	}
	for _, c := range commands[3:] {
		b.table.note(c.name+", the same settings", fmt.Sprintf("%s: × %.1f", ms(c.median()), c.against(ssh)))
	}

	ssh, apply, verify = login("far.bench.example.com"), provision(far, "apply"), provision(far, "verify")
	if err := interleave(ctx, rounds, ssh, apply, verify); err != nil {
		return err
	}
	b.table.note("`ssh HOST true` at 100 ms", ms(ssh.median()))
	for _, c := range []*command{apply, verify} {
		more := trips(c.median() - ssh.median())
		b.table.add("converged `"+c.name+"` at 100 ms, beyond `ssh HOST true`", fmt.Sprintf("%s: + %.1f round trips", ms(c.median()), more), "≤ + 2", more <= 2)
	}
	return nil
}

func trips(d time.Duration) float64 { return float64(d) / float64(roundTrip) }

// bare measures a host that has Docker and nothing else. What the far host
// takes longer than the near one is the way alone; useradd, git and docker
// take the same on both.
func (b *bench) bare(ctx context.Context, near, far string, sshNear, sshFar *command, provision func(string, ...string) *command) error {
	undo := func() error {
		return provision(near, "remove", "--yes", "--volumes", "--deployment", "app").run(ctx)
	}
	applyNear, applyFar := provision(near, "apply"), provision(far, "apply")
	if err := applyNear.run(ctx); err != nil { // the first one pulls the image
		return err
	}
	applyNear.times = nil
	applyNear.before, applyFar.before = undo, undo
	if err := interleave(ctx, 3, sshNear, applyNear, sshFar, applyFar); err != nil {
		return err
	}
	more := trips((applyFar.median() - applyNear.median()) - (sshFar.median() - sshNear.median()))
	b.table.add("bare host to done at 100 ms, without what the host works, beyond `ssh HOST true`",
		fmt.Sprintf("%s there, %s near: + %.1f round trips", ms(applyFar.median()), ms(applyNear.median()), more), "≤ + 8", more <= 8)
	return nil
}

// world boots the host, and a GitLab beside it.
func (b *bench) world(ctx context.Context) (*rehearsal.World, error) {
	file := filepath.Join(b.dir, "one.toml")
	if err := os.WriteFile(file, []byte(oneHost), 0o644); err != nil {
		return nil, err
	}
	inv, err := inventory.Load(file)
	if err != nil {
		return nil, err
	}
	return rehearsal.New(ctx, b.lab, inv, rehearsal.Options{Host: func(_ string, o *lab.Options) {
		o.Packages = append(o.Packages, "python3") // for Ansible
	}})
}

// write writes the inventory of a world as it is now.
func (b *bench) write(world *rehearsal.World, name string) (string, error) {
	file, err := world.Write()
	if err != nil {
		return "", err
	}
	to := filepath.Join(b.dir, name)
	return to, os.Rename(file, to)
}

// others returns what else there is on this machine for such work.
func (b *bench) others(near string, host *lab.Host, identity, known string) []*command {
	var all []*command
	if path, err := exec.LookPath("ansible-playbook"); err == nil {
		book, hosts := filepath.Join(b.dir, "playbook.yaml"), filepath.Join(b.dir, "hosts")
		line := fmt.Sprintf("web1.bench.example.com ansible_user=%s ansible_ssh_private_key_file=%s ansible_ssh_common_args='-o UserKnownHostsFile=%s' ansible_python_interpreter=/usr/bin/python3\n", host.Admin, identity, known)
		if os.WriteFile(book, []byte(playbook), 0o644) == nil && os.WriteFile(hosts, []byte(line), 0o644) == nil {
			all = append(all, &command{name: "Ansible, with pipelining", every: 3,
				args: []string{path, "-i", hosts, book}, env: []string{"ANSIBLE_PIPELINING=True", "ANSIBLE_LOCALHOST_WARNING=False", "ANSIBLE_SSH_ARGS=-o ControlMaster=no", "LC_ALL=C.UTF-8"}})
		}
	}
	if path, err := exec.LookPath("pyinfra"); err == nil {
		deploy := filepath.Join(b.dir, "deploy.py")
		if os.WriteFile(deploy, []byte(pyinfra), 0o644) == nil {
			all = append(all, &command{name: "pyinfra", every: 3,
				args: []string{path, "--yes", "web1.bench.example.com", "--user", host.Admin, "--key", identity, deploy}})
		}
	}
	return all
}

//go:embed pyinfra.py
var pyinfra string
