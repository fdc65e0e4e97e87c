package remote

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// unreachable explains why there is no way to an endpoint.
func unreachable(e endpoint, err error) error {
	try := "ssh " + e.Alias
	if e.Port != 22 {
		try = "ssh -p " + strconv.Itoa(e.Port) + " " + e.Alias
	}
	hint := "does " + try + " get through?"
	var name *net.DNSError
	var dial *net.OpError
	switch {
	case errors.As(err, &name) && name.IsNotFound:
		return withHint(fmt.Errorf("connect to %s: there is no host of this name (%s)", e.Address(), name.Err),
			"check the address: it is a name that this machine can resolve, an IP address, or a Host of ~/.ssh/config")
	case errors.Is(err, syscall.ECONNREFUSED):
		hint = fmt.Sprintf("does sshd run there, at port %d? %s tells the same", e.Port, try)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		hint = "is the host up, and is there a way from here, such as a VPN or a jump host? " + hint
	}
	if errors.As(err, &dial) {
		err = dial.Err // without the address, which stands before it
		if call := errors.Unwrap(err); call != nil {
			err = call // without the name of the system call
		}
	}
	return withHint(fmt.Errorf("connect to %s: %w", e.Address(), err), "%s", hint)
}
