package commands

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIsReadyText(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text string
		want bool
	}{
		{"", true},
		{"ws://127.0.0.1:7070/\n", true},
		{"wss://worker.example/v1/ws/sync\n", true},
		{"unix:/run/wstun.sock\n", true},
		{"127.0.0.1:50051\n[::1]:50051\nunix:s.sock\n", true},
		{"\n", true},
		{"127.0.0.1:50051\n\n", false},
		{"127.0.0.1\n", false},
		{"https://one.example/\nhttps://two.example/\n", false},
		{"s3cret\n", false},
		{"-----BEGIN CERTIFICATE-----\n", false},
	}
	for _, tt := range tests {
		if got := isReadyText(tt.text); got != tt.want {
			t.Errorf("isReadyText(%q) = %v, want %v", tt.text, got, tt.want)
		}
	}
}

func TestReadyFileKeepsOtherFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	f := &readyFile{path: path}
	for _, text := range []string{"mine\n", strings.Repeat("127.0.0.1:1\n", maxReadyFile)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := f.prepare(); exitStatus(err) != exitUsage {
			t.Errorf("prepare = %v, want a usage error", err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("the file has %d bytes, %v; want it untouched", len(got), err)
		}
	}
}

// A run doesn't remove the file of another one.
func TestReadyFileRemovesItsOwn(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ready")
	first, second := &readyFile{path: path}, &readyFile{path: path}
	for i, f := range []*readyFile{first, second} {
		if err := f.prepare(); err != nil {
			t.Fatal(err)
		}
		if err := f.write(fmt.Sprintf("127.0.0.1:%d\n", i+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the second's file is gone: %v", err)
	}
	for range 2 {
		if err := second.remove(); err != nil {
			t.Error(err)
		}
	}
	if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) > 0 {
		t.Errorf("%v is left, %v", names, err)
	}
}
