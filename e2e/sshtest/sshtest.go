// Package sshtest is many small SSH servers on loopback addresses, for
// measuring and counting what a client does. It lets one key in, says what it
// is told to say, and goes through to other hosts, as a jump host does.
package sshtest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/ssh"
)

// An Answer is what a server does with a command. It returns the exit status.
type Answer func(command string, in io.Reader, out, stderr io.Writer) uint32

// Servers share a host key, and the key that they let in.
type Servers struct {
	// HostKey is the public host key, as "TYPE BASE64".
	HostKey string
	// Signer is the key that is let in.
	Signer ssh.Signer

	private []byte // of Signer, in PEM
	config  *ssh.ServerConfig
	answer  Answer

	// MaxSessions is how many sessions a connection may have; 0: any number. One
	// that has ended counts until the next sign of life is asked for, as with
	// sshd(8), which tells the exit status first. It must not change after Listen.
	MaxSessions int

	connections, logins, sessions, commands, forwards, dropped atomic.Int64

	mu        sync.Mutex
	limit     int // see MaxStartups
	refuse    int // see Refuse
	startups  int
	most      int // startups at a time
	listeners []net.Listener
	conns     map[net.Conn]bool
	closed    bool
}

// New makes servers that answer commands with answer, or refuse them all if that
// is nil.
func New(answer Answer) (*Servers, error) {
	s := &Servers{answer: answer, conns: map[net.Conn]bool{}}
	_, host, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	hostKey, err := ssh.NewSignerFromKey(host)
	if err != nil {
		return nil, err
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	if s.Signer, err = ssh.NewSignerFromKey(private); err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return nil, err
	}
	s.private = pem.EncodeToMemory(block)
	public := hostKey.PublicKey()
	s.HostKey = public.Type() + " " + base64.StdEncoding.EncodeToString(public.Marshal())
	welcome := string(s.Signer.PublicKey().Marshal())
	s.config = &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != welcome {
			return nil, errors.New("nobody knows this key")
		}
		return nil, nil
	}}
	s.config.AddHostKey(hostKey)
	return s, nil
}

// Identity writes the private key that is let in to a file in dir, and returns
// its name.
func (s *Servers) Identity(dir string) (string, error) {
	file := filepath.Join(dir, "id_ed25519")
	return file, os.WriteFile(file, s.private, 0o600)
}

// Listen starts n more servers, each on an address of its own, and returns
// these as "HOST:PORT".
func (s *Servers) Listen(n int) ([]string, error) {
	var addresses []string
	for range n {
		s.mu.Lock()
		i := len(s.listeners)
		s.mu.Unlock()
		l, err := net.Listen("tcp", fmt.Sprintf("127.77.%d.%d:0", i/250, i%250+1))
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.listeners = append(s.listeners, l)
		s.mu.Unlock()
		addresses = append(addresses, l.Addr().String())
		go s.accept(l)
	}
	return addresses, nil
}

// Close ends all servers and connections.
func (s *Servers) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		c.Close()
	}
}

// A Count is what was done so far.
type Count struct {
	Connections int // that were accepted
	Logins      int
	Sessions    int // that were opened
	Commands    int
	Forwards    int // to other hosts
	Dropped     int // connections, because of MaxStartups and Refuse
	Startups    int // the most that were in the handshake at a time
	Open        int // connections, at the moment
}

// Count returns what was done so far.
func (s *Servers) Count() Count {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Count{
		Connections: int(s.connections.Load()), Logins: int(s.logins.Load()), Sessions: int(s.sessions.Load()), Commands: int(s.commands.Load()),
		Forwards: int(s.forwards.Load()), Dropped: int(s.dropped.Load()), Startups: s.most, Open: len(s.conns),
	}
}

func (s *Servers) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		s.connections.Add(1)
		go s.serve(conn)
	}
}

// MaxStartups bounds how many connections may be in the handshake; of more the
// server hangs up. 0 is no bound.
func (s *Servers) MaxStartups(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = n
}

// Refuse hangs up on the next n connections.
func (s *Servers) Refuse(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = n
}

// begin counts a connection in, unless there are too many.
func (s *Servers) begin(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.refuse > 0 || s.limit > 0 && s.startups >= s.limit {
		s.refuse = max(0, s.refuse-1)
		s.dropped.Add(1)
		return false
	}
	s.conns[conn] = true
	s.startups++
	s.most = max(s.most, s.startups)
	return true
}

func (s *Servers) serve(conn net.Conn) {
	defer conn.Close()
	if !s.begin(conn) {
		return
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, conn)
	}()
	// Before the client knows that it is let in, so that no login after it can be
	// counted as one beside it.
	letIn := sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.startups--
	})
	config := *s.config
	config.AuthLogCallback = func(_ ssh.ConnMetadata, _ string, err error) {
		if err == nil {
			letIn()
		}
	}
	server, channels, requests, err := ssh.NewServerConn(conn, &config)
	letIn()
	if err != nil {
		return
	}
	defer server.Close()
	s.logins.Add(1)
	var open, ended atomic.Int64
	go func() {
		for r := range requests {
			open.Add(-ended.Swap(0))
			if r.WantReply {
				_ = r.Reply(r.Type == "keepalive@openssh.com", nil)
			}
		}
	}()
	for channel := range channels {
		switch channel.ChannelType() {
		case "session":
			if n := open.Add(1); s.MaxSessions > 0 && n > int64(s.MaxSessions) {
				open.Add(-1)
				_ = channel.Reject(ssh.Prohibited, "open failed")
				continue
			}
			s.sessions.Add(1)
			go s.session(channel, func() { ended.Add(1) })
		case "direct-tcpip":
			go s.forward(channel)
		default:
			_ = channel.Reject(ssh.UnknownChannelType, "")
		}
	}
}

// session serves one, and calls end before it tells that it has ended.
func (s *Servers) session(offered ssh.NewChannel, end func()) {
	end = sync.OnceFunc(end)
	defer end()
	channel, requests, err := offered.Accept()
	if err != nil {
		return
	}
	defer channel.Close()
	for r := range requests {
		var exec struct{ Command string }
		if s.answer == nil || r.Type != "exec" || ssh.Unmarshal(r.Payload, &exec) != nil {
			if r.WantReply {
				_ = r.Reply(false, nil)
			}
			continue
		}
		s.commands.Add(1)
		if r.WantReply {
			_ = r.Reply(true, nil)
		}
		go ssh.DiscardRequests(requests)
		status := s.answer(exec.Command, channel, channel, channel.Stderr())
		end()
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
		return
	}
}

func (s *Servers) forward(offered ssh.NewChannel) {
	var to struct {
		Host       string
		Port       uint32
		Origin     string
		OriginPort uint32
	}
	if ssh.Unmarshal(offered.ExtraData(), &to) != nil {
		_ = offered.Reject(ssh.ConnectionFailed, "")
		return
	}
	conn, err := net.Dial("tcp", net.JoinHostPort(to.Host, fmt.Sprint(to.Port)))
	if err != nil {
		_ = offered.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	defer conn.Close()
	channel, requests, err := offered.Accept()
	if err != nil {
		return
	}
	s.forwards.Add(1)
	go ssh.DiscardRequests(requests)
	go func() {
		_, _ = io.Copy(conn, channel)
		conn.Close()
	}()
	_, _ = io.Copy(channel, conn)
	channel.Close()
}
