package remote

import (
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/crypto/ssh"
)

// A ScannedKey is one that a host has shown and proved to hold.
type ScannedKey struct {
	Line        string // "type blob", as [Target.HostKeys] has it
	Fingerprint string // as ssh-keygen -l prints it
}

// scanned are the types of keys that are asked for, each by the algorithms
// that show it, the best first.
var scanned = [][]string{
	{ssh.KeyAlgoED25519},
	{ssh.KeyAlgoECDSA256},
	{ssh.KeyAlgoECDSA384},
	{ssh.KeyAlgoECDSA521},
	{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256},
}

var errScanned = errors.New("the key is seen")

// Scan asks a host for its keys, as ssh-keyscan(1) does: nobody logs in, and
// nothing tells that it is the right host. Who calls it must compare the
// fingerprints with what a person or a file knows. Jump hosts of
// ssh_config(5) are logged in to on the way, and must be known.
//
// Each type of key takes a connection, which sshd(8) holds against this address
// for a second (PerSourcePenalties of sshd_config(5)). So the best type comes
// first, and after a key that is enough no other is asked for.
func (d *Dialer) Scan(ctx context.Context, address string, port int, enough func(ScannedKey) bool) ([]ScannedKey, error) {
	route, err := d.route(ctx, Target{Address: address, Port: port})
	if err != nil {
		return nil, err
	}
	via, err := d.through(ctx, route[:len(route)-1])
	if err != nil {
		return nil, err
	}
	e := route[len(route)-1]
	var keys []ScannedKey
	for _, algorithms := range scanned {
		key, err := d.scan(ctx, e, via, algorithms)
		if err != nil {
			return nil, err
		}
		if key == nil {
			continue
		}
		keys = append(keys, ScannedKey{keyLine(key), fingerprint(key)})
		if enough(keys[len(keys)-1]) {
			break
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s has no key of a known type", e.Address())
	}
	return keys, nil
}

// scan returns the key that a host shows for one of the algorithms; nil if it
// has none.
func (d *Dialer) scan(ctx context.Context, e endpoint, via *link, algorithms []string) (key ssh.PublicKey, err error) {
	conn, err := d.transport(ctx, e, via)
	if err != nil {
		return nil, unreachable(e, err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, d.handshake(), errHandshake)
	defer cancel()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	transport, err := e.transportConfig()
	if err != nil {
		return nil, err
	}
	_, _, _, err = ssh.NewClientConn(conn, e.Address(), &ssh.ClientConfig{
		Config:            transport,
		User:              e.User,
		HostKeyAlgorithms: algorithms,
		HostKeyCallback: func(_ string, _ net.Addr, shown ssh.PublicKey) error {
			key = shown
			return errScanned
		},
	})
	var negotiation *ssh.AlgorithmNegotiationError
	switch {
	case key != nil:
		return key, nil
	case errors.As(err, &negotiation) && negotiation.What == "host key":
		return nil, nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return nil, fmt.Errorf("ask %s for its keys: %w", e.Address(), err)
}
