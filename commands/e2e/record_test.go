//go:build unix

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/tunnel/trace"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

// readRecording reads recordings as one, the oldest first, and checks that each of their lines
// is whole, except for the last one of a process that was killed.
func readRecording(t *testing.T, mayBeTorn bool, paths ...string) *recording.Recording {
	t.Helper()
	var all bytes.Buffer
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.SplitAfter(text, []byte("\n"))
		for i, line := range lines {
			if isLast := i == len(lines)-1; !json.Valid(line) && (!isLast || len(line) > 0 && !mayBeTorn) {
				t.Errorf("%s: line %d of %d isn't whole: %.200q", filepath.Base(path), i+1, len(lines), line)
			}
		}
		all.Write(text)
		all.WriteByte('\n')
	}
	rec, err := recording.Read(&all)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// eventually waits until f, about a file, returns true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	const interval = 10 * time.Millisecond
	for deadline := time.Now().Add(tunneltest.Patience); !f(); <-time.After(interval) {
		if time.Now().After(deadline) {
			t.Fatalf("timeout: %s", what)
		}
	}
}

// echoes returns the numbers of the complete calls of Hub/Echo in rec, and of the others.
func echoes(rec *recording.Recording) (complete, others int) {
	for _, c := range rec.Calls {
		switch {
		case c.Method() != "/wstun.demo.v1.Hub/Echo":
		case c.Problem() == "" && c.End() != nil:
			complete++
		default:
			others++
		}
	}
	return complete, others
}

// A process that is killed loses at most the last line of its recording. Its calls are
// recorded within 100 ms. Restarted, it begins another file.
func TestRecordKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, requests := filepath.Join(dir, "hub.rec"), filepath.Join(dir, "requests")
	if err := os.WriteFile(requests, bytes.Repeat(fmt.Appendf(nil, "{\"text\":%q}\n", strings.Repeat("x", 2000)), 100_000), 0o600); err != nil {
		t.Fatal(err)
	}
	const rounds = 4
	for round := range rounds {
		serve := startDaemon(t, "wstun", "serve", "--accept", "127.0.0.1:0", "--record", file, "--record-keep", "10")
		url := serve.find(t, `^ws://\S+$`)
		echo(t, url, 1)
		eventually(t, "the call is recorded", func() bool {
			complete, _ := echoes(readRecording(t, true, file))
			return complete == 1
		})
		// Killed while it records.
		load := startDaemon(t, "wstun", "call", "-d", "@"+requests, url, "Hub/Echo")
		eventually(t, "a MiB is recorded", func() bool {
			info, err := os.Stat(file)
			return err == nil && info.Size() > 1<<20
		})
		if round%2 == 0 {
			serve.kill()
		} else {
			_ = serve.cmd.Process.Signal(os.Interrupt)
			_ = serve.cmd.Process.Signal(os.Interrupt)
		}
		load.kill()
		if _, err := serve.exitStatus(); err != nil {
			t.Fatal(err)
		}
	}
	for n := range rounds {
		path := file
		if n > 0 {
			path = fmt.Sprintf("%s.%d", file, n)
		}
		if complete, others := echoes(readRecording(t, true, path)); complete != 1 || others != 1 {
			t.Errorf("%s has %d complete calls and %d others, want one each", filepath.Base(path), complete, others)
		}
	}
}

// Under load, the parts of a rotated recording together have every message.
func TestRecordRotated(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "hub.rec")
	serve := startDaemon(t, "wstun", "serve", "--accept", "127.0.0.1:0", "--record", file, "--record-max", "1MiB", "--record-keep", "100")
	url := serve.find(t, `^ws://\S+$`)
	const messages = 2000
	echo(t, url, messages)
	_ = serve.cmd.Process.Signal(os.Interrupt)
	if status, err := serve.exitStatus(); status != 0 || err != nil {
		t.Fatal(status, err)
	}
	var parts []string
	for n := 100; n >= 0; n-- {
		path := file
		if n > 0 {
			path = fmt.Sprintf("%s.%d", file, n)
		}
		info, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		const head = 16 << 10 // the most that the descriptors at the beginning may add
		if err != nil || info.Size() > 1<<20+head || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has %d bytes and mode %v, %v", filepath.Base(path), info.Size(), info.Mode(), err)
		}
		readRecording(t, false, path)
		parts = append(parts, path)
	}
	if len(parts) < 10 {
		t.Errorf("%d files, want at least 10 MiB", len(parts))
	}
	rec := readRecording(t, false, parts...)
	if complete, others := echoes(rec); complete != 1 || others != 0 || rec.Lost != (trace.Losses{}) {
		t.Errorf("%d complete calls, %d others, lost %+v; want one whole call", complete, others, rec.Lost)
	}
	for _, c := range rec.Calls {
		if n := len(c.Events); c.Method() == "/wstun.demo.v1.Hub/Echo" && n != 2*messages+4 {
			t.Errorf("%d events, want %d messages in both directions", n, messages)
		}
	}
}

// While the disk is full, calls continue. The loss is reported, and in the recording, which
// continues once there is room.
func TestRecordDiskFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mount := `mount -t tmpfs -o size=64k tmpfs "$1" && head -c 57344 /dev/zero >"$1/ballast" && exec wstun serve --accept 127.0.0.1:0 --record "$1/hub.rec"`
	if out, err := exec.CommandContext(t.Context(), "unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("the rights to mount a file system are missing: %v, %s", err, out)
	}
	serve := startDaemon(t, "unshare", "-rm", "sh", "-c", mount, "sh", dir)
	url := serve.find(t, `^ws://\S+$`)
	protoset := hubProtoset(t)
	call := func() {
		t.Helper()
		runCommand(t, fmt.Sprintf(`wstun call --protoset %s -d '{"text":"%2000d"}' %s Hub/Echo`, protoset, 0, url))
	}
	call()
	serve.find(t, `level=WARN msg="not recorded" err="write .*hub.rec: no space left on device" lost_lines=\d+`)
	inside := fmt.Sprintf("/proc/%d/root%s/", serve.cmd.Process.Pid, dir)
	if err := os.Remove(inside + "ballast"); err != nil {
		t.Fatal(err)
	}
	call()
	serve.find(t, `level=INFO msg="recording again" lost_lines=\d+`)
	eventually(t, "the last call is recorded", func() bool {
		rec := readRecording(t, true, inside+"hub.rec")
		if len(rec.Calls) == 0 {
			return false
		}
		last := rec.Calls[len(rec.Calls)-1]
		return last.Method() == "/wstun.demo.v1.Hub/Echo" && last.End() != nil && last.Problem() == ""
	})
	text, err := os.ReadFile(inside + "hub.rec")
	if err != nil || !bytes.Contains(text, []byte(`"type":"lost","lost":{"lines":`)) {
		t.Errorf("the recording doesn't report the loss: %v", err)
	}
	call()
}

// A recording in a pipe is written while it is read, and its reader may leave.
func TestRecordPipe(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip(err)
	}
	serve := startDaemon(t, "wstun", "serve", "--accept", "127.0.0.1:0", "--record", pipe)
	r, err := os.Open(pipe)
	if err != nil {
		t.Fatal(err)
	}
	url := serve.find(t, `^ws://\S+$`)
	lines := recording.NewReader(r)
	echo(t, url, 1)
	for {
		l, err := lines.Next()
		if err != nil {
			t.Fatal(err)
		}
		if l.Method == "/wstun.demo.v1.Hub/Echo" && l.Status != nil {
			break
		}
	}
	r.Close()
	echo(t, url, 100)
	serve.find(t, `level=WARN msg="not recorded" err="write .*pipe: broken pipe"`)
	echo(t, url, 1)
}
