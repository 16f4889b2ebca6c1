package tracing

import (
	"bytes"
	"slices"
	"testing"

	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/reflection"
)

const selectable = `
{"event":"recording","time":"2026-01-02T15:04:05Z","version":1}
{"event":"rpc","time":"2026-01-02T15:04:05Z","session":1,"call":1,"seq":1,"type":"client_header","method":"/p.Hub/Create"}
{"event":"rpc","time":"2026-01-02T15:04:05Z","session":1,"call":1,"seq":2,"type":"client_message","method":"/p.Hub/Create","size":30,"compressed":"gzip","data":"CgJ6OQ=="}
{"event":"rpc","time":"2026-01-02T15:04:06Z","session":1,"call":1,"seq":3,"type":"server_trailer","method":"/p.Hub/Create","status":{"code":6}}
{"event":"rpc","time":"2026-01-02T15:04:07Z","session":2,"call":2,"seq":1,"type":"client_header","method":"/p.Hub/Watch"}
{"event":"rpc","time":"2026-01-02T15:04:08Z","session":2,"call":3,"seq":1,"type":"client_header","method":"/grpc.health.v1.Health/Check"}
{"event":"rpc","time":"2026-01-02T15:04:08Z","session":2,"call":3,"seq":2,"type":"server_trailer","method":"/grpc.health.v1.Health/Check","status":{"code":0}}
`

func TestSelector(t *testing.T) {
	t.Parallel()
	rec, err := recording.Read(bytes.NewReader([]byte(selectable)))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		filter []string
		want   []uint64
	}{
		{nil, []uint64{1, 2}},
		{[]string{"*"}, []uint64{1, 2, 3}},
		{[]string{"check"}, []uint64{3}},
		{[]string{"status=OK"}, nil},
		{[]string{"status!=OK"}, []uint64{1}}, // the Watch has no status yet
		{[]string{"s2 !nothing"}, []uint64{2}},
		{[]string{">500ms", "Watch"}, []uint64{1, 2}},
		{[]string{"$.1=z*"}, []uint64{1}},
		{[]string{"$.1=y*"}, nil},
		{[]string{"size>20"}, []uint64{1}},
	} {
		s, err := NewSelector(tt.filter, reflection.NewCatalog())
		if err != nil {
			t.Fatal(err)
		}
		var got []uint64
		for _, c := range rec.Calls {
			if s.Selects(c) {
				got = append(got, c.Number)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("--filter %q selects %v, want %v", tt.filter, got, tt.want)
		}
	}
	if _, err := NewSelector([]string{"a b{"}, reflection.NewCatalog()); err == nil {
		t.Error("a malformed filter is accepted")
	}
}

func TestMatchMethod(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"Hub/Create", "create", "p.Hub.Create", "hub/*", "/p.Hub/Create"} {
		if match, err := MatchMethod(pattern); err != nil || !match("/p.Hub/Create") || match("/p.Other/Delete") {
			t.Errorf("%q: %v", pattern, err)
		}
	}
	if _, err := MatchMethod("a b"); err == nil {
		t.Error("a malformed pattern is accepted")
	}
}
