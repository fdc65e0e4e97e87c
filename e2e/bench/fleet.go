package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"provision/e2e/lab"
	"provision/e2e/rehearsal"
	"provision/e2e/sshtest"
)

// A fleet is many servers that answer as one real host did.
type fleet struct {
	servers   *sshtest.Servers
	addresses []string
	world     *rehearsal.World

	program, answer []byte       // of the real host
	slow            atomic.Bool  // nobody answers
	seen            atomic.Int64 // programs that arrived
}

// many measures what is done to a fleet. Its hosts are logged in to and looked
// at as any host, and say what the real one said, which is that all is in
// place; GitLab, though, knows none of them. So this is a plan, which is an
// apply up to its first change.
func (b *bench) many(ctx context.Context) error {
	world, err := b.world(ctx)
	if err != nil {
		return err
	}
	defer world.Close()
	near, err := b.write(world, "one-of-many.toml")
	if err != nil {
		return err
	}
	if err := (&command{name: "apply", args: []string{b.program, "apply", near}}).run(ctx); err != nil {
		return err
	}
	f := &fleet{world: world}
	if f.servers, err = sshtest.New(f.serve); err != nil {
		return err
	}
	defer f.servers.Close()
	if f.addresses, err = f.servers.Listen(b.fleet); err != nil {
		return err
	}
	identity, err := f.servers.Identity(b.dir)
	if err != nil {
		return err
	}
	file := filepath.Join(b.dir, "fleet.toml")
	if err := os.WriteFile(file, []byte(f.inventory(near, identity)), 0o644); err != nil {
		return err
	}

	// The first one asks the real host.
	plan := func(flags ...string) *command {
		return &command{name: "plan", args: append(append([]string{b.program, "plan", "--output", "json"}, flags...), file)}
	}
	if err := plan("--limit", "h0").run(ctx); err != nil {
		return err
	}
	if err := b.look(ctx, f); err != nil {
		return err
	}
	requests := func(c *command) (n int, s summary, err error) {
		before := len(world.GitLab.Requests())
		if err := c.run(ctx); err != nil {
			return 0, s, err
		}
		n = len(world.GitLab.Requests()) - before
		return n, s, json.Unmarshal([]byte(lastLine(c.out)), &s)
	}
	some := plan("--limit", "h?", "--limit", "h??")
	n100, s100, err := requests(some)
	if err != nil {
		return err
	}
	n1, _, err := requests(plan("--limit", "h0"))
	if err != nil {
		return err
	}
	b.table.add("GitLab: 100 deployments of one group", fmt.Sprintf("%d hosts, %d requests; for one of them %d", s100.Hosts, n100, n1), "pages and changes", n100 == n1)

	list := filepath.Join(b.dir, "addresses")
	if err := os.WriteFile(list, []byte(strings.Join(f.addresses, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	logins := &command{name: "logins", args: []string{self, "-logins", list, "-width", fmt.Sprint(16 * runtime.NumCPU())}, env: []string{"BENCH_KEY=" + identity}}
	all := plan("--parallel", "auto")
	if err := interleave(ctx, 5, logins, all); err != nil {
		return err
	}
	var s summary
	if err := json.Unmarshal([]byte(lastLine(all.out)), &s); err != nil {
		return err
	}
	ratio := all.against(logins)
	b.table.add(fmt.Sprintf("%d hosts, to as many bare logins", b.fleet), fmt.Sprintf("%s to %s: × %.2f (%d connections, %d trips; CPU %s to %s)",
		ms(all.median()), ms(logins.median()), ratio, s.Connections, s.Trips, ms(all.cpu), ms(logins.cpu)), "≤ × 1.2", ratio <= 1.2)
	b.table.add(fmt.Sprintf("memory for %d hosts", b.fleet), mib(all.memory), "≤ 150 MiB", all.memory <= 150<<20)

	if err := b.shards(ctx, file); err != nil {
		return err
	}
	return b.interrupt(ctx, f, file)
}

type summary struct{ Hosts, Failed, Connections, Trips int }

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// inventory is that of the real host, with a fleet in place of it.
func (f *fleet) inventory(near, identity string) string {
	head, _, _ := strings.Cut(read(near), `[hosts.`)
	var b strings.Builder
	b.WriteString(head)
	fmt.Fprintf(&b, "[defaults.host]\nuser = \"root\"\nbecome = \"none\"\nhost_keys = [%q]\nidentity = %q\n", f.servers.HostKey, identity)
	var hosts []string
	for i, address := range f.addresses {
		fmt.Fprintf(&b, "[hosts.h%d]\naddress = %q\n", i, address)
		hosts = append(hosts, fmt.Sprintf("%q", fmt.Sprintf("h%d", i)))
	}
	_, tail, _ := strings.Cut(oneHost, "[deployments.app]\nhost = \"web1\"\n")
	fmt.Fprintf(&b, "[deployments.app]\nhosts = [%s]\n%s", strings.Join(hosts, ", "), tail)
	return b.String()
}

func (f *fleet) serve(command string, in io.Reader, out, stderr io.Writer) uint32 {
	if command == "true" {
		return 0
	}
	f.seen.Add(1)
	return sshtest.Programs(func(program []byte) []byte {
		if f.slow.Load() {
			_, _ = io.Copy(io.Discard, in) // until somebody gives up
			return nil
		}
		if f.answer == nil {
			var err error
			if f.answer, err = ask(f.world.Hosts["web1"], f.world.Lab, program); err != nil {
				return []byte(err.Error())
			}
			f.program = program
		}
		return sshtest.Replay(f.program, f.answer)(program)
	})(command, in, out, stderr)
}

// ask runs a program on the real host.
func ask(host *lab.Host, l *lab.Lab, program []byte) ([]byte, error) {
	login, err := loginTo(host, l)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(login[0], append(login[1:], "sudo -n /bin/sh -s")...)
	cmd.Stdin = bytes.NewReader(text(program))
	return cmd.Output()
}

// text is what the shell runs of what was sent: the last line marks the end.
func text(program []byte) []byte { return program[:bytes.LastIndexByte(program, '\n')+1] }

func loginTo(host *lab.Host, l *lab.Lab) ([]string, error) {
	identity, err := l.Identity()
	return []string{"ssh", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-i", identity,
		host.Admin + "@" + host.Address.String()}, err
}

// look measures what looking costs the host itself: the same program, given to
// a shell by ssh(1).
func (b *bench) look(ctx context.Context, f *fleet) error {
	login, err := loginTo(f.world.Hosts["web1"], f.world.Lab)
	if err != nil {
		return err
	}
	ssh := &command{name: "ssh true", args: append(slices.Clip(login), "true")}
	look := &command{name: "ssh look", args: append(slices.Clip(login), "sudo -n /bin/sh -s"), in: text(f.program)}
	if err := interleave(ctx, rounds, ssh, look); err != nil {
		return err
	}
	b.table.note("the probes alone: `ssh HOST sudo sh` with the program of a look", fmt.Sprintf("%s: × %.2f of `ssh HOST true`", ms(look.median()), look.against(ssh)))
	return nil
}

// shards measures four verifications side by side, each of a quarter.
func (b *bench) shards(ctx context.Context, file string) error {
	whole := &command{name: "verify", args: []string{b.program, "verify", "--as", "admin", "--parallel", "auto", "--output", "json", file}, exit: 3}
	if err := whole.run(ctx); err != nil {
		return err
	}
	var wg sync.WaitGroup
	shards := make([]*command, 4)
	errs := make([]error, len(shards))
	start := time.Now()
	for i := range shards {
		shards[i] = &command{name: "shard", exit: 3,
			args: []string{b.program, "verify", "--as", "admin", "--parallel", "auto", "--output", "json", "--shard", fmt.Sprintf("%d/%d", i+1, len(shards)), file}}
		wg.Go(func() { errs[i] = shards[i].run(ctx) })
	}
	wg.Wait()
	took := time.Since(start)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	var connections []string
	for _, c := range shards {
		var s summary
		if err := json.Unmarshal([]byte(lastLine(c.out)), &s); err != nil {
			return err
		}
		connections = append(connections, fmt.Sprint(s.Connections))
	}
	b.table.note("4 shards of `verify` side by side, on this one machine", fmt.Sprintf("%s, %s hosts; all in one %s", ms(took), strings.Join(connections, " + "), ms(whole.median())))
	return nil
}

// interrupt measures how long a run lives on after Ctrl-C.
func (b *bench) interrupt(ctx context.Context, f *fleet, file string) error {
	f.slow.Store(true)
	defer f.slow.Store(false)
	f.seen.Store(0)
	cmd := exec.CommandContext(ctx, b.program, "plan", file)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return err
	}
	for f.seen.Load() == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	start := time.Now()
	_ = cmd.Wait()
	took := time.Since(start)
	b.table.add(fmt.Sprintf("Ctrl-C, %d hosts under way or not begun", b.fleet), ms(took), "≤ 1 s", took <= time.Second)
	return nil
}

// logInToAll is what a fleet costs at the least: the same library logs in and
// runs true.
func logInToAll(list string, width int) error {
	text, err := os.ReadFile(os.Getenv("BENCH_KEY"))
	if err != nil {
		return err
	}
	signer, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return err
	}
	addresses := strings.Fields(read(list))
	if width == 0 {
		width = 10
	}
	slots := make(chan struct{}, width)
	errs := make([]error, len(addresses))
	var wg sync.WaitGroup
	for i, address := range addresses {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			errs[i] = logIn(address, signer)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func logIn(address string, signer ssh.Signer) error {
	client, err := ssh.Dial("tcp", address, &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		// Whom it logs in to is of no interest here: these are our own servers.
		HostKeyCallback: func(string, net.Addr, ssh.PublicKey) error { return nil },
	})
	if err != nil {
		return err
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return err
	}
	defer session.Close()
	return session.Run("true")
}
