package main

import (
	"net"
	"sync"
	"time"
)

// relay passes connections on to an address, over a line that is long, and
// as wide as the machine can: whatever is sent arrives half a round trip
// later, and any amount can be under way.
func relay(l net.Listener, to string, roundTrip time.Duration) {
	for {
		near, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			time.Sleep(roundTrip) // in which TCP would shake hands
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				return
			}
			var both sync.WaitGroup
			both.Go(func() { carry(near, far, roundTrip/2) })
			both.Go(func() { carry(far, near, roundTrip/2) })
			both.Wait()
			near.Close()
			far.Close()
		}()
	}
}

// carry passes on what comes from one side, until that ends.
func carry(to, from net.Conn, delay time.Duration) {
	type parcel struct {
		due   time.Time
		bytes []byte
	}
	line := make(chan parcel, 4096)
	go func() {
		defer close(line)
		for {
			buffer := make([]byte, 16<<10)
			n, err := from.Read(buffer)
			if n > 0 {
				line <- parcel{time.Now().Add(delay), buffer[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range line {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.bytes); err != nil {
			from.Close() // ends the reader, and so this loop
		}
	}
	to.(*net.TCPConn).CloseWrite()
}
