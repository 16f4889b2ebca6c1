// Package rpc describes the gRPC calls that pass through a process, wherever
// they are followed: in package forward, package limit or package trace.
package rpc

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
)

// Call is an open call, at one moment.
type Call struct {
	// Method is the path, "/pkg.Service/Method"; "?" if it couldn't be decoded.
	Method string

	// Session and Stream are the numbers of the session and of the yamux stream; 0: unknown.
	Session uint64
	Stream  uint32

	// Peer is the address of the gRPC client, if that is a local one.
	Peer string

	Begun time.Time
	Last  time.Time // when its latest message passed; zero: there was none

	// Sent and Received count the messages that the client has sent and received.
	Sent, Received uint64
}

// Sort sorts calls, the oldest first.
func Sort(calls []Call) {
	slices.SortStableFunc(calls, func(a, b Call) int {
		return cmp.Or(a.Begun.Compare(b.Begun), cmp.Compare(a.Session, b.Session), cmp.Compare(a.Stream, b.Stream))
	})
}

// NoStatus stands for calls that have ended without a gRPC status, because they were cancelled, or
// their connection broke.
const NoStatus codes.Code = 1 << 31

// known is the number of status codes that gRPC defines.
const known = int(codes.Unauthenticated) + 1

// Counts counts the calls that have ended, by their status. The zero value is ready to use,
// and all methods may be called from any goroutine.
type Counts struct {
	counts [known + 2]atomic.Uint64 // then other codes, and NoStatus
}

// Add counts a call that has ended.
func (c *Counts) Add(code codes.Code) {
	i := known
	switch {
	case code == NoStatus:
		i++
	case int(code) < known:
		i = int(code)
	}
	c.counts[i].Add(1)
}

// Other is the key of [Counts.Load] for codes that gRPC doesn't define.
const Other codes.Code = 1<<31 - 1

// Load returns the counts that aren't 0.
func (c *Counts) Load() map[codes.Code]uint64 {
	m := map[codes.Code]uint64{}
	for i := range c.counts {
		code := codes.Code(i)
		switch i {
		case known:
			code = Other
		case known + 1:
			code = NoStatus
		}
		if n := c.counts[i].Load(); n > 0 {
			m[code] = n
		}
	}
	return m
}
