package cmd

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"

	"provision/inventory"
	"provision/provision/hint"
	"provision/provision/remote"
	"provision/provision/visible"
)

func (d *draft) readHost() error {
	d.admin, d.address = "", d.host
	if at := strings.LastIndexByte(d.host, '@'); at >= 0 {
		d.admin, d.address = d.host[:at], d.host[at+1:]
		if err := wrong(inventory.Wrong("host", "user", d.admin)); err != nil {
			return err
		}
	}
	return wrong(inventory.Wrong("host", "address", d.address))
}

func (d *draft) lookAtHost(ctx context.Context) error {
	host, port := d.address, 0
	if h, p, err := net.SplitHostPort(d.address); err == nil {
		if port, err = strconv.Atoi(p); err != nil {
			return err
		}
		host = h
	}
	d.machine = server{what: "the host", host: strings.Trim(host, "[]"), port: port, source: "on the host, ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub prints them"}
	return d.lookAt(ctx, &d.machine)
}

// A server is one whose keys get into the inventory.
type server struct {
	what   string
	host   string
	port   int
	source string // of its fingerprints

	shown   string   // its keys, to compare
	right   []string // those that are known or said to be right
	unknown []string
}

// lookAt asks a server for its keys: until one is known or accepted or, where
// nothing is known of it, for the best. The error is a mistake where there is no
// way to it.
func (d *draft) lookAt(ctx context.Context, s *server) error {
	known, err := d.config.KnownHostKeys(ctx, s.host, s.port)
	if err != nil {
		return err
	}
	pinned := slices.ContainsFunc(known, func(k string) bool { return !strings.HasPrefix(k, "@") })
	verdict := func(k remote.ScannedKey) string {
		switch {
		case slices.Contains(known, k.Line):
			return ", in known_hosts"
		case slices.Contains(d.accept, k.Fingerprint):
			return ", accepted"
		}
		return ""
	}
	shown, err := d.dialer.Scan(ctx, s.host, s.port, func(k remote.ScannedKey) bool {
		return verdict(k) != "" || !pinned && len(d.accept) == 0
	})
	if err != nil {
		return mistake{fmt.Errorf("%s: %w", s.what, err)}
	}
	s.shown = fmt.Sprintf("%s %s shows:\n", s.what, visible.Lines(s.host))
	for _, k := range shown {
		kind, _, _ := strings.Cut(k.Line, " ")
		s.shown += fmt.Sprintf("  %s %s%s\n", k.Fingerprint, kind, verdict(k))
		if verdict(k) != "" {
			s.right = append(s.right, k.Line)
		} else {
			s.unknown = append(s.unknown, k.Line)
		}
	}
	if len(s.right) == 0 && pinned {
		io.WriteString(d.env.Stdout, s.shown)
		return hint.Add(fmt.Errorf("%s: none of the keys of %s is the one in your known_hosts", s.what, s.host), "somebody may be listening in, or it was installed anew. Ask its owner before you replace the known key")
	}
	return nil
}

// confirmHostKey shows the keys of a server, and asks whether they are right, unless
// some are known to be. Then the others are left out: nobody has confirmed them.
func (d *draft) confirmHostKey(ctx context.Context, s *server) error {
	io.WriteString(d.env.Stdout, s.shown)
	if len(s.right) > 0 {
		return nil
	}
	switch others := len(d.accept) > 0; {
	case others && !d.ask.terminal():
		return hint.Add(usagef("%s: %s shows no key that --accept-host-key names", s.what, s.host), "somebody may be listening in, or it is the fingerprint of another host: compare (%s)", s.source)
	case !d.ask.terminal():
		return hint.Add(usagef("%s: the host key of %s is not confirmed", s.what, s.host), "compare its fingerprint (%s), and give the right one with --accept-host-key SHA256:…", s.source)
	case others:
		fmt.Fprintln(d.env.Stderr, "none of these keys is named by --accept-host-key: somebody may be listening in")
	}
	fmt.Fprintf(d.env.Stderr, "compare the fingerprint with a source you trust: %s\n", visible.Lines(s.source))
	fine, err := d.ask.confirm(ctx, "is the fingerprint correct?")
	if err != nil {
		return err
	}
	if !fine {
		return hint.Add(fmt.Errorf("%s: the key of %s is not confirmed; no file written", s.what, s.host),
			"ask its owner for the fingerprint; with your answers so far: %s --accept-host-key SHA256:…", d.again())
	}
	s.right = s.unknown
	return nil
}
