package main

import (
	"io"
	"net"
	"time"
)

// relay passes connections on to an address, and holds every byte back for
// delay, each way, as a long way would.
func relay(l net.Listener, to string, delay time.Duration) {
	for {
		near, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			// A connection is there after a round trip.
			time.Sleep(2 * delay)
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				return
			}
			go pass(far, near, delay)
			go pass(near, far, delay)
		}()
	}
}

// pass copies what it reads, later. However much is on the way, nothing waits
// for it.
func pass(to, from net.Conn, delay time.Duration) {
	type parcel struct {
		bytes []byte
		due   time.Time
	}
	way := make(chan parcel, 1<<12)
	go func() {
		for p := range way {
			time.Sleep(time.Until(p.due))
			if _, err := to.Write(p.bytes); err != nil {
				break
			}
		}
		if c, ok := to.(*net.TCPConn); ok {
			_ = c.CloseWrite()
		}
		for range way {
		}
	}()
	defer close(way)
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			way <- parcel{append([]byte(nil), buffer[:n]...), time.Now().Add(delay)}
		}
		if err != nil {
			if err != io.EOF {
				from.Close()
			}
			return
		}
	}
}
