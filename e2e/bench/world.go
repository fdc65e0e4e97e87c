package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"provision/e2e/lab"
	"provision/e2e/rehearsal"
	"provision/inventory"
)

const (
	domain = "bench.example.com"
	group  = "transmogrify"
	app    = "app" // the deployment that all is about
	login  = "admin"
)

// The round trips of two long lines. With the longer one, round trips can be
// counted by the clock, whatever else takes its time.
const (
	long   = 100 * time.Millisecond
	longer = 500 * time.Millisecond
)

// theInventory has one host. CI calls it by its own name wherever the admin
// goes through the slow line, so both find the same variables.
const theInventory = `
[gitlab]
url = "https://git.` + domain + `"
host_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC5pD8xXmTv2s5o8jrefxD4xScp82SkYM9QBPp/kMnm0"]
[registry]
host = "registry.` + domain + `"
credential = "deploy-token"
[hosts.web1]
address = "web1.` + domain + `"
ci_address = "web1.` + domain + `"
user = "` + login + `"
[deployments.` + app + `]
host = "web1"
project = "` + group + `/frobnicator"
user = "deploy-user"
directory = "frobnicator"
environment = "production"
variables = { group = "` + group + `" }
`

// A bench is one host, converged, with what is needed around it.
type bench struct {
	ctx     context.Context
	lab     *lab.Lab
	world   *rehearsal.World
	dir     string
	self    string // this program
	program string // what is measured
	env     []string

	identity, known string // files of OpenSSH
	slow, slower    string // the names by which web1 is far away
	near, far       string // inventories of web1

	theFleet func() (*fleet, error) // makes it when it is first called
	opened   []io.Closer
}

func newBench(ctx context.Context, l *lab.Lab, program string) (*bench, error) {
	b := &bench{ctx: ctx, lab: l, program: program, slow: "slow." + domain, slower: "slower." + domain}
	b.theFleet = sync.OnceValues(b.newFleet)
	if err := b.furnish(); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// Close ends what the bench has started, and removes its files.
func (b *bench) Close() error {
	if b.world != nil {
		b.opened = append(b.opened, b.world)
	}
	errs := []error{os.RemoveAll(b.dir)}
	for _, c := range b.opened {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// furnish makes web1, converges it, and makes the ways to it.
func (b *bench) furnish() (err error) {
	if b.dir, err = os.MkdirTemp("/run", "bench-"); err != nil {
		return err
	}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	b.env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "CI_") || strings.HasPrefix(v, "SSH_") || strings.HasPrefix(v, "GITLAB_")
	})
	file := filepath.Join(b.dir, "inventory.toml")
	if err := os.WriteFile(file, []byte(theInventory), 0o644); err != nil {
		return err
	}
	inv, err := inventory.Load(file)
	if err != nil {
		return err
	}
	python := func(_ string, o *lab.Options) { o.Packages = append(o.Packages, "python3") } // for Ansible
	if b.world, err = rehearsal.New(b.ctx, b.lab, inv, rehearsal.Options{Host: python}); err != nil {
		return err
	}
	if b.identity, err = b.lab.Identity(); err != nil {
		return err
	}
	web1 := b.world.Hosts["web1"]
	for name, roundTrip := range map[string]time.Duration{b.slow: long, b.slower: longer} {
		line, err := b.relay(name, web1.Address, roundTrip)
		if err != nil {
			return err
		}
		b.opened = append(b.opened, line)
	}
	var known strings.Builder
	for _, key := range web1.HostKeys {
		fmt.Fprintf(&known, "%s,%s,%s %s\n", web1.Name, b.slow, b.slower, key)
	}
	b.known = filepath.Join(b.dir, "known_hosts")
	if err := os.WriteFile(b.known, []byte(known.String()), 0o644); err != nil {
		return err
	}
	h, d := b.world.Inventory.Hosts[0], b.world.Inventory.Deployments[0]
	if b.near, err = b.write("near", []*inventory.Host{h}, []*inventory.Deployment{d}); err != nil {
		return err
	}
	if b.far, err = b.write("far", []*inventory.Host{with(h, h.Name, b.slow)}, []*inventory.Deployment{d}); err != nil {
		return err
	}
	_, err = b.command(0, b.program, "apply", b.near)
	return err
}

// with returns a host that is another one in name and address.
func with(h *inventory.Host, name, address string) *inventory.Host {
	other := *h
	other.Name, other.Address = name, address
	return &other
}

// onHosts returns a deployment on each of a list of hosts.
func onHosts(d inventory.Deployment, environment string, hosts ...*inventory.Host) []*inventory.Deployment {
	var list []*inventory.Deployment
	for _, h := range hosts {
		one := d
		one.Host, one.Environment, one.Scope = h, environment, environment+"/"+h.Name
		list = append(list, &one)
	}
	return list
}

// relay makes a name lead to sshd of a host, over a long line, until it is
// closed.
func (b *bench) relay(name string, host netip.Addr, roundTrip time.Duration) (io.Closer, error) {
	address, err := b.lab.Name(name)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", net.JoinHostPort(address.String(), "22"))
	if err != nil {
		return nil, err
	}
	go relay(l, net.JoinHostPort(host.String(), "22"), roundTrip)
	return l, nil
}

// write writes an inventory with the GitLab and the registry of the lab, and
// reads it: all that it is about must be in there.
func (b *bench) write(name string, hosts []*inventory.Host, deployments []*inventory.Deployment) (string, error) {
	inv := *b.world.Inventory
	defer func() { *b.world.Inventory = inv }()
	b.world.Inventory.Hosts, b.world.Inventory.Deployments = hosts, deployments
	written, err := b.world.Write()
	if err != nil {
		return "", err
	}
	file := filepath.Join(b.dir, name+".toml")
	if err := os.Rename(written, file); err != nil {
		return "", err
	}
	read, err := inventory.Load(file)
	if err != nil {
		return "", err
	}
	if got, want := len(read.Deployments), len(deployments); got != want || len(read.Hosts) != len(hosts) {
		return "", fmt.Errorf("%s has %d hosts and %d deployments, not %d and %d", file, len(read.Hosts), got, len(hosts), want)
	}
	return file, nil
}

// ssh returns the floor: what OpenSSH takes to log in and run nothing.
func (b *bench) ssh(name string) timed {
	return b.timed(0, "ssh", "-F", "none", "-i", b.identity, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
		"-o", "UserKnownHostsFile="+b.known, "-o", "ControlPath=none", login+"@"+name, "true")
}

func (b *bench) oneHost() ([]row, error) {
	web1 := b.world.Hosts["web1"]
	times, err := inTurns(*rounds, b.ssh(web1.Name), b.timed(0, b.program, "apply", b.near), b.timed(0, b.program, "verify", b.near))
	if err != nil {
		return nil, err
	}
	return []row{
		ratio("converged `apply`, one host; floor: `ssh HOST true`", times[1], times[0], 1.3),
		ratio("converged `verify`, one host; floor: `ssh HOST true`", times[2], times[0], 1.3),
	}, nil
}

func (b *bench) slowLine() ([]row, error) {
	times, err := inTurns(max(1, *rounds/2), b.ssh(b.slow), b.timed(0, b.program, "apply", b.far), b.timed(0, b.program, "verify", b.far))
	if err != nil {
		return nil, err
	}
	return []row{
		trips("converged `apply`, 100 ms away; floor: `ssh HOST true`", times[1], times[0], 2),
		trips("converged `verify`, 100 ms away; floor: `ssh HOST true`", times[2], times[0], 2),
	}, nil
}

// trips is a row that says by how many round trips something is slower.
func trips(what string, ours, floor []time.Duration, most float64) row {
	o, f := median(ours), median(floor)
	n := (o - f).Seconds() / long.Seconds()
	return row{
		what: what, ours: show(o), floor: show(f), compared: fmt.Sprintf("%+.1f round trips", n),
		target: fmt.Sprintf("≤ %+g round trips", most), met: n <= most,
	}
}

// bareHost brings bare hosts up to date, near ones and far ones in turns. The
// hosts themselves work as long on both, so the difference is that of the
// line alone.
func (b *bench) bareHost() ([]row, error) {
	pairs := max(1, *rounds/5)
	var near, far []time.Duration
	for i := range 2 * pairs {
		took, err := b.bare("bare"+strconv.Itoa(i), i%2 == 1)
		if err != nil {
			return nil, err
		}
		if i%2 == 1 {
			far = append(far, took)
		} else {
			near = append(near, took)
		}
	}
	login, err := inTurns(pairs, b.ssh(b.world.Hosts["web1"].Name), b.ssh(b.slower))
	if err != nil {
		return nil, err
	}
	count := func(far, near []time.Duration) float64 {
		return (median(far) - median(near)).Seconds() / longer.Seconds()
	}
	ours, floor := count(far, near), count(login[1], login[0])
	return []row{{
		what: fmt.Sprintf("bare host to done, in round trips: what it takes 500 ms away less what it takes beside it (%s - %s); floor: `ssh HOST true` likewise", show(median(far)), show(median(near))),
		ours: fmt.Sprintf("%.1f", ours), floor: fmt.Sprintf("%.1f", floor), compared: fmt.Sprintf("%+.1f round trips", ours-floor),
		target: "≤ +8 round trips", met: ours-floor <= 8,
	}}, nil
}

// bare boots a host, and tells how long it takes to bring it up to date, near or
// far away.
func (b *bench) bare(name string, far bool) (took time.Duration, err error) {
	h, err := b.lab.Boot(b.ctx, lab.Options{Names: []string{name + "." + domain}, Docker: true, Admin: login})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	address := h.Name
	if far {
		address = "slow-" + h.Name
		line, err := b.relay(address, h.Address, longer)
		if err != nil {
			return 0, err
		}
		defer line.Close()
	}
	host := with(b.world.Inventory.Hosts[0], name, address)
	host.CIAddress, host.HostKeys = "", h.HostKeys
	file, err := b.write(name, []*inventory.Host{host}, onHosts(*b.world.Inventory.Deployments[0], name, host))
	if err != nil {
		return 0, err
	}
	return b.timed(0, b.program, "apply", file)()
}
