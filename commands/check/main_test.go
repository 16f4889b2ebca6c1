package check

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// testsDone is closed after the last test. It ends lookups of silent.test.
var testsDone = make(chan struct{})

// TestMain replaces the resolver by one in the process, so no test sends a DNS query.
func TestMain(m *testing.M) {
	net.DefaultResolver = &net.Resolver{
		PreferGo: true,
		Dial: func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go nameServer(server)
			return client, nil
		},
	}
	goleak.VerifyTestMain(tests{m}, tunneltest.LingeringHTTP())
}

// tests closes testsDone after the tests have run, before goleak looks.
type tests struct{ m *testing.M }

func (t tests) Run() int {
	defer close(testsDone) // otherwise the resolver waits for its own timeout
	return t.m.Run()
}

// nameServer resolves worker.test to 127.0.0.1, doesn't answer queries for
// silent.test, and has no other names.
func nameServer(conn net.Conn) {
	defer conn.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		var msg dnsmessage.Message
		if err := msg.Unpack(query); err != nil || len(msg.Questions) != 1 {
			return
		}
		msg.Response, msg.RecursionAvailable, msg.Additionals = true, true, nil
		switch q := msg.Questions[0]; {
		case q.Name.String() == "silent.test.":
			<-testsDone
			return
		case q.Name.String() != "worker.test.":
			msg.RCode = dnsmessage.RCodeNameError
		case q.Type == dnsmessage.TypeA:
			msg.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
				Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
			}}
		}
		answer, err := msg.Pack()
		if err != nil {
			return
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}
