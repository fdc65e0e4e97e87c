package main

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"provision/e2e/gitlabtest"
	"provision/inventory"
	"provision/provision/secret"
)

// A fleet is many SSH servers in this process, each with an address and a key
// of its own, that all answer as web1 does. Each program that comes is run on
// web1 once, and whoever sends it again is given the same answer, with the
// marks of its own. So a host costs its handshakes and its bytes, and no
// shells, for which this machine would be too small.
type fleet struct {
	inventory string
	hosts     []*endpoint

	// What web1 answers to a program, and its gate to a command.
	run  func(command string, program []byte) (out []byte, status int, err error)
	gate func(command string) (string, error)

	silent atomic.Bool  // nobody answers a program, until its sender gives up
	asked  atomic.Int64 // programs that arrived

	opened []io.Closer

	mu      sync.Mutex
	answers map[string]*answer
}

// An endpoint is one server.
type endpoint struct {
	address string // with a port
	key     ssh.Signer
	token   string // the user name of its deploy token
}

// line is what package ssh takes for a known key.
func (e *endpoint) line() string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(e.key.PublicKey())))
}

// An answer is what web1 said to a program, and the marks of that one.
type answer struct {
	once   sync.Once
	marks  []string
	out    []byte
	status int
	err    error
}

// Close ends the servers.
func (f *fleet) Close() error {
	var errs []error
	for _, c := range f.opened {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// newFleet returns the fleet, converged.
func (b *bench) newFleet() (*fleet, error) {
	f := &fleet{answers: map[string]*answer{}}
	if err := b.converge(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	b.opened = append(b.opened, f)
	return f, nil
}

func (b *bench) converge(f *fleet) error {
	if err := b.dialWeb1(f); err != nil {
		return err
	}
	config, d := b.world.Inventory, b.world.Inventory.Deployments[0]
	web1 := b.world.Hosts["web1"]
	key, _ := b.world.GitLab.Variable(group, "SSH_AUTH", d.Scope)
	const environment = "fleet"
	for _, k := range b.world.GitLab.DeployKeys(d.Project) { // all hosts have this one, and it has one title
		b.world.GitLab.RemoveDeployKey(d.Project, k.ID)
		b.world.GitLab.AddDeployKey(d.Project, k.User, "the key of all hosts", k.Key)
	}
	var hosts []*inventory.Host
	for i := range *many {
		name, address := fmt.Sprintf("h%04d", i), fmt.Sprintf("127.1.%d.%d", i/250, 1+i%250)
		e, err := f.listen(net.JoinHostPort(address, "22"))
		if err != nil {
			return err
		}
		h := with(config.Hosts[0], name, address)
		h.CIAddress, h.HostKeys = "", []string{e.line()}
		hosts = append(hosts, h)

		// GitLab's side of it.
		id, _ := b.world.GitLab.AddDeployToken(group, d.User+"@"+name, "", time.Time{}, "read_registry")
		e.token = deployToken + strconv.FormatInt(id, 10)
		var known []string
		for _, key := range web1.HostKeys {
			known = append(known, address+" "+key)
		}
		slices.Sort(known)
		for _, v := range []gitlabtest.Variable{
			{Key: "SSH_AUTH", Value: key.Value, File: true, Protected: true},
			{Key: "SSH_KNOWN_HOSTS", Value: secret.New(strings.Join(known, "\n") + "\n")},
			{Key: "SSH_DEPLOY_TARGET", Value: secret.New("ssh://" + d.User + "@" + address)},
		} {
			v.Raw, v.Scope, v.Description = true, environment+"/"+name, "Set by provision for "+d.Name+" on "+name+"."
			b.world.GitLab.AddVariable(group, v)
		}
	}
	var err error
	if f.inventory, err = b.write("many", hosts, onHosts(*d, environment, hosts...)); err != nil {
		return err
	}
	if _, err := b.command(0, b.program, "plan", "--exit-code", "--parallel", width, f.inventory); err != nil {
		return fmt.Errorf("the fleet is not converged: %w", err)
	}
	if n := f.asked.Load(); n < int64(*many) {
		return fmt.Errorf("%d hosts were sent %d programs", *many, n)
	}
	return nil
}

// dialWeb1 makes the ways to the host that answers for all.
func (b *bench) dialWeb1(f *fleet) error {
	web1 := b.world.Hosts["web1"]
	pem, err := os.ReadFile(b.identity)
	if err != nil {
		return err
	}
	key, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return err
	}
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(web1.HostKeys[0]))
	if err != nil {
		return err
	}
	client, err := ssh.Dial("tcp", net.JoinHostPort(web1.Address.String(), "22"), &ssh.ClientConfig{
		User: login, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: ssh.FixedHostKey(hostKey), HostKeyAlgorithms: []string{hostKey.Type()},
	})
	if err != nil {
		return err
	}
	f.opened = append(f.opened, client)
	f.run = func(command string, program []byte) ([]byte, int, error) { return runOn(client, command, program) }
	f.gate = func(command string) (string, error) {
		d := b.world.Inventory.Deployments[0]
		return web1.Exec(b.ctx, `
key=$(sed -n "s|.*/gate $2 \([^\"]*\)\".*|\1|p" "$(getent passwd "$1" | cut -d : -f 6)/.ssh/authorized_keys" | head -n 1)
runuser -u "$1" -- env SSH_ORIGINAL_COMMAND="$3" /usr/local/lib/provision/gate "$2" "$key"`, d.User, d.Name, command)
	}
	return nil
}

// listen adds a server, which lets any key in: that its owner has it is
// proved, as everywhere.
func (f *fleet) listen(address string) (*endpoint, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	e := &endpoint{}
	if e.key, err = ssh.NewSignerFromKey(private); err != nil {
		return nil, err
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	config.AddHostKey(e.key)
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	f.opened = append(f.opened, l)
	e.address = l.Addr().String()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go f.serve(e, conn, config)
		}
	}()
	f.hosts = append(f.hosts, e)
	return e, nil
}

func (f *fleet) serve(e *endpoint, conn net.Conn, config *ssh.ServerConfig) {
	defer conn.Close()
	c, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests) // which says no
	for asked := range channels {
		if asked.ChannelType() != "session" {
			asked.Reject(ssh.Prohibited, "")
			continue
		}
		channel, requests, err := asked.Accept()
		if err != nil {
			return
		}
		go f.session(e, c.User(), channel, requests)
	}
}

// session answers the one command of a session. As with sshd and a deploy key,
// a subsystem is a command, and all other requests are denied.
func (f *fleet) session(e *endpoint, user string, channel ssh.Channel, requests <-chan *ssh.Request) {
	defer channel.Close()
	for r := range requests {
		ok := r.Type == "exec" || r.Type == "subsystem"
		if r.WantReply {
			r.Reply(ok, nil)
		}
		if !ok {
			continue
		}
		var exec struct{ Command string }
		if ssh.Unmarshal(r.Payload, &exec) != nil {
			return
		}
		go ssh.DiscardRequests(requests)
		status, err := f.command(e, user, exec.Command, channel)
		if err != nil {
			fmt.Fprintln(channel.Stderr(), err)
			status = 1
		}
		channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
		return
	}
}

const refusal = "provision: refused: not-allowed: this key allows only: deploy, status, verify\n"

func (f *fleet) command(e *endpoint, user, command string, channel ssh.Channel) (status int, err error) {
	verify := verifyForm.FindStringSubmatch(command)
	var a *answer
	var marks []string
	switch {
	case user == login && command == "true":
		return 0, nil
	case user == login:
		io.WriteString(channel.Stderr(), readyLine)
		program, err := readProgram(channel)
		if err != nil {
			return 0, err
		}
		f.asked.Add(1)
		if f.silent.Load() {
			_, err := io.Copy(io.Discard, channel)
			return 1, err
		}
		a, marks = f.answer(program, func(a *answer) { a.out, a.status, a.err = f.run(command, program) })
	case verify != nil:
		marks = verify[1:2]
		a, _ = f.answer([]byte("verify"+verify[2]), func(a *answer) {
			var out string
			out, a.err = f.gate(command)
			a.out, a.marks = []byte(out), marks
		})
	default:
		io.WriteString(channel.Stderr(), refusal)
		return 126, nil
	}
	if a.err != nil {
		return 0, a.err
	}
	pairs := []string{webToken(a), e.token}
	for i, mark := range a.marks {
		pairs = append(pairs, mark, marks[i])
	}
	replace := strings.NewReplacer(pairs...)
	replace.WriteString(channel, string(a.out))
	return a.status, nil
}

// readyLine is what the shell says that waits for a program.
const readyLine = "provision: the shell is ready\n"

// readProgram reads a program as the shell on a host does: a line with the
// number of bytes and a mark, then the bytes.
func readProgram(r io.Reader) ([]byte, error) {
	in := bufio.NewReader(r)
	head, err := in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	number, _, _ := strings.Cut(head, " ")
	size, err := strconv.Atoi(number)
	if err != nil {
		return nil, err
	}
	body := make([]byte, size)
	_, err = io.ReadFull(in, body)
	return append([]byte(head), body...), err
}

var (
	verifyForm = regexp.MustCompile(`^verify ([0-9a-f]+)( 2)?$`) // a nonce, and the version of the answer

	markOf  = regexp.MustCompile(`@[0-9a-f]{32}`)
	saltOf  = regexp.MustCompile(`\b[A-Z2-7]{26}\b`)
	tokenOf = regexp.MustCompile(`\Q` + deployToken + `\E[0-9]+`)
)

const deployToken = "gitlab+deploy-token-"

// webToken returns the user name with which web1 is logged in.
func webToken(a *answer) string {
	if name := tokenOf.Find(a.out); name != nil {
		return string(name)
	}
	return deployToken + "none"
}

// answer returns the answer to a program, which is made when it is first asked
// for, and the marks of this one. Programs that differ in marks and salts are
// the same.
func (f *fleet) answer(program []byte, run func(*answer)) (*answer, []string) {
	var marks []string
	seen := map[string]string{}
	key := markOf.ReplaceAllFunc(program, func(mark []byte) []byte {
		number, ok := seen[string(mark)]
		if !ok {
			number = "@" + strconv.Itoa(len(marks))
			seen[string(mark)] = number
			marks = append(marks, string(mark))
		}
		return []byte(number)
	})
	sum := sha256.Sum256(saltOf.ReplaceAll(key, nil))
	f.mu.Lock()
	a := f.answers[string(sum[:])]
	if a == nil {
		a = &answer{marks: marks}
		f.answers[string(sum[:])] = a
	}
	f.mu.Unlock()
	a.once.Do(func() { run(a) })
	return a, marks
}

// runOn gives a program to a host, and keeps the stream open that it came by:
// its end would end the program.
func runOn(client *ssh.Client, command string, program []byte) (out []byte, status int, err error) {
	s, err := client.NewSession()
	if err != nil {
		return nil, 0, err
	}
	defer s.Close()
	in, err := s.StdinPipe()
	if err != nil {
		return nil, 0, err
	}
	var b bytes.Buffer
	s.Stdout = &b
	if err := s.Start(command); err != nil {
		return nil, 0, err
	}
	if _, err := in.Write(program); err != nil {
		return nil, 0, err
	}
	err = s.Wait()
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		status, err = exit.ExitStatus(), nil
	}
	return b.Bytes(), status, err
}
