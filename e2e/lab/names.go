package lab

import (
	"net"
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// names is the name server of the lab. A hosts(5) file would not do: Go reads
// it at most every five seconds, and names come while the program runs.
type names struct {
	mu        sync.Mutex
	addresses map[string]netip.Addr // by lower-case names that end in a dot
}

// startNames serves on the control machine's first address.
func startNames() (*names, error) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(controlAddress, 53)))
	if err != nil {
		return nil, err
	}
	n := &names{addresses: map[string]netip.Addr{}}
	go func() {
		buffer := make([]byte, 512) // the most that a query over UDP may have, RFC 1035
		for {
			length, from, err := conn.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			if answer, err := n.answer(buffer[:length]); err == nil {
				conn.WriteToUDPAddrPort(answer, from)
			}
		}
	}()
	return n, nil
}

// add makes names resolve to an address. Of two addresses the later one counts.
func (n *names) add(address netip.Addr, names ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, name := range names {
		n.addresses[strings.ToLower(name)+"."] = address
	}
}

// answer answers a query: A records for the names of the lab, and "there is
// no such name", at once, for the rest of the world.
func (n *names) answer(query []byte) ([]byte, error) {
	var p dnsmessage.Parser
	header, err := p.Start(query)
	if err != nil {
		return nil, err
	}
	question, err := p.Question()
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	address, known := n.addresses[strings.ToLower(question.Name.String())]
	n.mu.Unlock()

	header.Response, header.Authoritative, header.RecursionAvailable = true, true, true
	if !known {
		header.RCode = dnsmessage.RCodeNameError
	}
	answer := dnsmessage.Message{Header: header, Questions: []dnsmessage.Question{question}}
	if known && question.Type == dnsmessage.TypeA {
		answer.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: question.Name, Class: question.Class},
			Body:   &dnsmessage.AResource{A: address.As4()},
		}}
	}
	return answer.Pack()
}
