package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// TestMain also runs the roles of child processes, because the benchmark starts its own
// binary.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && roles[os.Args[1]] != nil {
		os.Exit(run(os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

// TestSmoke runs quick workloads with the pair and wstun.
func TestSmoke(t *testing.T) {
	t.Parallel()
	wstun := filepath.Join(t.TempDir(), "wstun"+exeSuffix())
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", wstun, "github.com/wstun/wstun").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	var stdout, stderr bytes.Buffer
	p := &program{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr}
	status := p.main(t.Context(), []string{
		"-rounds", "1", "-duration", "50ms", "-netns=false", "-wstun", wstun,
		"-work", "^(bulk-up|bulk-down|call-1)$", "-systems", "^(pair|wstun)$",
	})
	if status != 0 {
		t.Fatalf("exit status %d\n%s", status, &stderr)
	}
	rows := 0
	for line := range strings.Lines(stdout.String()) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "pair" && fields[0] != "wstun" {
			continue
		}
		rows++
		if fields[1] == "–" || fields[1] == "0" {
			t.Errorf("no value: %s", line)
		}
	}
	if rows != 6 {
		t.Errorf("%d rows, want 6:\n%s%s", rows, &stdout, &stderr)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ args, want string }{
		{"-rounds 0", "-rounds"},
		{"-work (", "-work"},
		{"-systems (", "-systems"},
		{"wstun", `unexpected argument "wstun"`},
		{"pair", "only the benchmark itself may start this command"},
		{"-wstun new=/nonexistent/wstun", "/nonexistent/wstun"},
		{"measure -work nothing", "nothing to do"},
	} {
		var stderr bytes.Buffer
		p := &program{stdin: strings.NewReader(""), stdout: &stderr, stderr: &stderr}
		if status := p.main(t.Context(), strings.Fields(tt.args)); status != 1 || !strings.Contains(stderr.String(), tt.want) {
			t.Errorf("%s: exit status %d, %q; want 1 and %q", tt.args, status, &stderr, tt.want)
		}
	}
}

func TestAppliesTo(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ skipTLS, secure, tls, want bool }{
		{false, true, false, true},
		{true, false, false, true},
		{true, true, false, false},
		{true, true, true, true},
	} {
		w, sys := &workload{skipTLS: tt.skipTLS}, &system{secure: tt.secure}
		if got := w.appliesTo(sys, &options{secure: tt.tls}); got != tt.want {
			t.Errorf("appliesTo with %+v = %v", tt, got)
		}
	}
}
