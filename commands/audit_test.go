package commands

import (
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/relay"
)

// After the file was renamed or removed, the next record begins another one.
func TestAuditReopens(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("an open file can't be renamed")
	}
	path := filepath.Join(t.TempDir(), "audit")
	var log strings.Builder
	a, err := openAudit(path, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { a.close() }()
	write := func(names ...string) {
		for _, name := range names {
			a.write("r1", &relay.Record{Kind: "session", Name: name})
		}
	}
	want := func(path string, names ...string) {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(string(text), "\n"); got != len(names) {
			t.Errorf("%s has %d lines, want %q", path, got, names)
		}
		for _, name := range names {
			if !strings.Contains(string(text), `"name":"`+name+`"`) {
				t.Errorf("%s doesn't have %s: %s", path, name, text)
			}
		}
	}
	write("a", "b")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write("c")
	want(path+".1", "a", "b")
	want(path, "c")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write("d")
	want(path, "d")
	// A folder in its place is logged once, and no record is written anywhere else.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	write("e", "f")
	if got := strings.Count(log.String(), "records are lost"); got != 1 {
		t.Errorf("%d lines in the log: %s", got, &log)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write("g")
	want(path, "g")
}

// Senders that aren't known can't fill the disk, nor keep out the records of others.
func TestAuditLimit(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit")
	a, err := openAudit(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	now := time.Now()
	for range maxUnknown + 7 {
		a.write("r1", &relay.Record{Kind: "refusal", End: now})
	}
	a.write("r1", &relay.Record{Kind: "refusal", Subject: "alice", End: now})
	a.write("r1", &relay.Record{Kind: "session", End: now})
	a.write("r1", &relay.Record{Kind: "refusal", Name: "later", End: now.Add(unknownPeriod)})
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(text), "\n"); got != maxUnknown+3 {
		t.Errorf("%d lines, want %d", got, maxUnknown+3)
	}
	lines := strings.Split(string(text), "\n")
	if last := lines[len(lines)-2]; !strings.Contains(last, `"name":"later"`) || !strings.Contains(last, `"left_out":7`) {
		t.Errorf("the last line is %s, want left_out 7", last)
	}
}
