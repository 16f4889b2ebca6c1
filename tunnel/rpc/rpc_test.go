package rpc_test

import (
	"maps"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/tunnel/rpc"
)

func TestCounts(t *testing.T) {
	t.Parallel()
	var c rpc.Counts
	for _, code := range []codes.Code{codes.OK, codes.OK, codes.Unauthenticated, 17, 4_000_000_000, rpc.NoStatus} {
		c.Add(code)
	}
	want := map[codes.Code]uint64{codes.OK: 2, codes.Unauthenticated: 1, rpc.Other: 2, rpc.NoStatus: 1}
	if got := c.Load(); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestSort(t *testing.T) {
	t.Parallel()
	now := time.Now()
	calls := []rpc.Call{{Begun: now, Stream: 3}, {Begun: now.Add(-1), Stream: 9}, {Begun: now, Stream: 1}}
	rpc.Sort(calls)
	for i, want := range []uint32{9, 1, 3} {
		if calls[i].Stream != want {
			t.Errorf("call %d is on stream %d, want %d", i, calls[i].Stream, want)
		}
	}
}
