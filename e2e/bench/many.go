package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// width is how many hosts are worked on at a time, on both sides of a
// comparison.
const width = "10"

// manyHosts compares a converged fleet with as many bare logins.
func (b *bench) manyHosts() ([]row, error) {
	f, err := b.theFleet()
	if err != nil {
		return nil, err
	}
	list, err := b.writeLogins(f)
	if err != nil {
		return nil, err
	}
	var most int64
	run := func(args ...string) timed {
		return func() (time.Duration, error) {
			m, err := b.measured(args...)
			if args[0] == b.program {
				most = max(most, m.Memory)
			}
			return m.Took, err
		}
	}
	times, err := inTurns(max(1, *rounds/3), run(b.program, "apply", "--parallel", width, f.inventory), run(b.self, loginsCommand, list))
	if err != nil {
		return nil, err
	}
	return []row{
		ratio(fmt.Sprintf("converged `apply`, %d hosts, %s at a time; floor: as many logins and `true`s of golang.org/x/crypto/ssh", *many, width), times[0], times[1], 1.2),
		{
			what: "the most memory of that", ours: fmt.Sprintf("%.0f MB", float64(most)/1e6),
			target: "≤ 150 MB", met: most <= 150e6,
		},
	}, nil
}

// shards compares verify of a whole fleet with its quarters.
func (b *bench) shards() ([]row, error) {
	f, err := b.theFleet()
	if err != nil {
		return nil, err
	}
	const parts = 4
	verify := func(part int) timed {
		return b.timed(0, b.program, "verify", "--parallel", width, "--shard", fmt.Sprintf("%d/%d", part, parts), f.inventory)
	}
	together := func() (time.Duration, error) {
		start := time.Now()
		errs := make([]error, parts)
		var wg sync.WaitGroup
		for i := range parts {
			wg.Go(func() { _, errs[i] = verify(i + 1)() })
		}
		wg.Wait()
		return time.Since(start), errors.Join(errs...)
	}
	times, err := inTurns(max(1, *rounds/5), b.timed(0, b.program, "verify", "--parallel", width, f.inventory), verify(1), together)
	if err != nil {
		return nil, err
	}
	whole := fmt.Sprintf("; floor: `verify` of all %d", *many)
	return []row{
		ratio(fmt.Sprintf("one of %d shards of `verify`, by itself, as on a runner of its own%s", parts, whole), times[1], times[0], 0),
		ratio(fmt.Sprintf("all %d shards at once, on this one machine%s", parts, whole), times[2], times[0], 0),
	}, nil
}

// interrupt measures for how long a run lives on after Ctrl-C, while all hosts
// that it works on are silent.
func (b *bench) interrupt() ([]row, error) {
	f, err := b.theFleet()
	if err != nil {
		return nil, err
	}
	f.silent.Store(true)
	defer f.silent.Store(false)
	n, err := strconv.Atoi(width)
	if err != nil {
		return nil, err
	}
	var times []time.Duration
	for range max(1, *rounds/5) {
		f.asked.Store(0)
		cmd := exec.CommandContext(b.ctx, b.program, "plan", "--parallel", width, f.inventory)
		cmd.Env = b.env
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		ended := make(chan struct{})
		go func() {
			cmd.Wait()
			close(ended)
		}()
		for f.asked.Load() < int64(min(n, *many)) {
			select {
			case <-ended:
				return nil, fmt.Errorf("plan ended before it was interrupted: %v", cmd.ProcessState)
			case <-time.After(time.Millisecond):
			}
		}
		start := time.Now()
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			return nil, err
		}
		<-ended
		times = append(times, time.Since(start))
		if code := cmd.ProcessState.ExitCode(); code != 1 {
			return nil, fmt.Errorf("plan ended with %d when it was interrupted", code)
		}
	}
	took := median(times)
	return []row{{
		what: fmt.Sprintf("from Ctrl-C to the end, %d hosts, %s of them at work", *many, width), ours: show(took),
		target: "≤ 1 s", met: took <= time.Second,
	}}, nil
}

// loginList is what logins reads.
type loginList struct {
	Identity string
	Hosts    []loginHost
}

type loginHost struct{ Address, Key string }

func (b *bench) writeLogins(f *fleet) (string, error) {
	list := loginList{Identity: b.identity}
	for _, e := range f.hosts {
		list.Hosts = append(list.Hosts, loginHost{e.address, e.line()})
	}
	text, err := json.Marshal(list)
	if err != nil {
		return "", err
	}
	file := filepath.Join(b.dir, "logins.json")
	return file, os.WriteFile(file, text, 0o644)
}

// logins logs in to every host of a list, and runs true there: the floor for
// many hosts. Nothing is asked of a host but that it is the right one.
func logins(args []string) error {
	text, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	var list loginList
	if err := json.Unmarshal(text, &list); err != nil {
		return err
	}
	pem, err := os.ReadFile(list.Identity)
	if err != nil {
		return err
	}
	identity, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(width)
	if err != nil {
		return err
	}
	slots := make(chan struct{}, n)
	errs := make([]error, len(list.Hosts))
	var wg sync.WaitGroup
	for i, h := range list.Hosts {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = h.login(identity)
		})
	}
	wg.Wait()
	return errors.Join(slices.DeleteFunc(errs, func(err error) bool { return err == nil })...)
}

func (h loginHost) login(identity ssh.Signer) error {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(h.Key))
	if err != nil {
		return err
	}
	client, err := ssh.Dial("tcp", h.Address, &ssh.ClientConfig{
		User: login, Auth: []ssh.AuthMethod{ssh.PublicKeys(identity)},
		HostKeyCallback: ssh.FixedHostKey(key), HostKeyAlgorithms: []string{key.Type()},
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
