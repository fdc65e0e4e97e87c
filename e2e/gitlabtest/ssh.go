package gitlabtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// HostKey returns the public half of the SSH host key, as one line: type and
// blob.
func (g *GitLab) HostKey() string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(g.hostKey.PublicKey())))
}

// ServeSSH is git over SSH on l until [GitLab.Close]: it lets in the user
// "git" with the deploy keys of projects, and gives them to read with the
// installed git. It refuses everything else. It returns nil after Close.
func (g *GitLab) ServeSSH(l net.Listener) error {
	if !g.ssh.add(l) {
		return l.Close()
	}
	defer g.ssh.remove(l)
	for {
		conn, err := l.Accept()
		if g.ssh.closed() {
			return nil
		} else if err != nil {
			return err
		}
		if !g.ssh.add(conn) {
			conn.Close()
			continue
		}
		go func() {
			defer g.ssh.remove(conn)
			g.serveConn(conn)
		}()
	}
}

// keyExtension carries the id of the deploy key from the login to the session.
const keyExtension = "key"

func (g *GitLab) serveConn(conn net.Conn) {
	config := &ssh.ServerConfig{
		PublicKeyCallback: func(meta ssh.ConnMetadata, public ssh.PublicKey) (*ssh.Permissions, error) {
			g.mu.Lock()
			defer g.mu.Unlock()
			if k := g.keyWith(public); meta.User() == "git" && k != nil && g.opens(k) {
				return &ssh.Permissions{Extensions: map[string]string{keyExtension: strconv.FormatInt(k.id, 10)}}, nil
			}
			return nil, errors.New("no deploy key")
		},
	}
	config.AddHostKey(g.hostKey)
	server, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	id := server.Permissions.Extensions[keyExtension]
	var sessions sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	for c := range channels {
		if c.ChannelType() != "session" {
			c.Reject(ssh.Prohibited, "administratively prohibited")
			continue
		}
		channel, requests, err := c.Accept()
		if err != nil {
			continue
		}
		sessions.Go(func() { g.serveSession(ctx, id, channel, requests) })
	}
	cancel()
	sessions.Wait()
}

// opens reports whether k may log in: a deploy key of some project, not
// expired, of a user who is not blocked.
func (g *GitLab) opens(k *key) bool {
	return len(k.projects) > 0 && alive(k.expires, g.now()) && !k.user.blocked
}

func (g *GitLab) serveSession(ctx context.Context, id string, channel ssh.Channel, requests <-chan *ssh.Request) {
	defer channel.Close()
	protocol := ""
	for r := range requests {
		switch r.Type {
		case "env":
			var env struct{ Name, Value string }
			ok := ssh.Unmarshal(r.Payload, &env) == nil && env.Name == "GIT_PROTOCOL"
			if ok {
				protocol = env.Value
			}
			r.Reply(ok, nil)
		case "shell", "exec":
			var command struct{ Line string }
			if r.Type == "exec" && ssh.Unmarshal(r.Payload, &command) != nil {
				r.Reply(false, nil)
				continue
			}
			r.Reply(true, nil)
			go refuse(requests)
			status := g.run(ctx, id, command.Line, protocol, channel)
			g.requests.add(Request{Method: "SSH", Path: command.Line, Status: status, User: "key " + id})
			channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
			return
		default:
			r.Reply(false, nil)
		}
	}
}

func refuse(requests <-chan *ssh.Request) {
	for r := range requests {
		r.Reply(false, nil)
	}
}

// run does what a key may do, and returns the exit status.
func (g *GitLab) run(ctx context.Context, id, line, protocol string, channel ssh.Channel) int {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "":
		fmt.Fprintln(channel, "Welcome to GitLab, Anonymous!")
		return 0
	case "git-upload-pack", "git-receive-pack":
	default:
		complain(channel, "Disallowed command")
		return 1
	}
	directory, ok := g.repository(id, rest)
	switch {
	case !ok:
		complain(channel, "The project you were looking for could not be found or you don't have permission to view it.")
		return 1
	case verb == "git-receive-pack":
		complain(channel, "This deploy key does not have write access to this project.")
		return 1
	}
	cmd := exec.CommandContext(ctx, "git", "upload-pack", "--strict", directory)
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/nonexistent", "GIT_PROTOCOL=" + protocol}
	cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
	input, err := cmd.StdinPipe() // so that Wait does not wait for the client
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		complain(channel, err.Error())
		return 1
	}
	go func() {
		io.Copy(input, channel)
		input.Close()
	}()
	cmd.Wait()
	return cmd.ProcessState.ExitCode() & 0xff
}

// repository finds the directory of a project that the key opens. A key that
// was taken away since it logged in opens nothing.
func (g *GitLab) repository(id, quoted string) (string, bool) {
	name := strings.TrimSuffix(strings.TrimPrefix(strings.Trim(quoted, `'"`), "/"), ".git")
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.find("project", name)
	if o == nil {
		o = g.moved[strings.ToLower(name)]
	}
	if o == nil {
		return "", false
	}
	for _, k := range g.deployKeysOf(o) {
		if strconv.FormatInt(k.id, 10) == id && g.opens(k) {
			k.used = g.now()
			return o.repository, true
		}
	}
	return "", false
}

// complain writes as GitLab does on standard error.
func complain(channel ssh.Channel, text string) {
	bar := strings.Repeat("=", 72)
	for _, line := range []string{"", bar, "", "ERROR: " + text, "", bar, ""} {
		fmt.Fprintln(channel.Stderr(), strings.TrimSpace("remote: "+line))
	}
}

// connections are what has to be closed, and waited for.
type connections struct {
	mu   sync.Mutex
	done bool
	open []io.Closer
	wait sync.WaitGroup
}

func (c *connections) add(o io.Closer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return false
	}
	c.open = append(c.open, o)
	c.wait.Add(1)
	return true
}

func (c *connections) remove(o io.Closer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = slices.DeleteFunc(c.open, func(e io.Closer) bool { return e == o })
	o.Close()
	c.wait.Done()
}

func (c *connections) closed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done
}

func (c *connections) close() {
	c.mu.Lock()
	c.done = true
	for _, o := range c.open {
		o.Close()
	}
	c.mu.Unlock()
	c.wait.Wait()
}
