package endpoint

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/wstun/wstun/tunnel/escape"
)

func TestParseWindow(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		want uint32
	}{
		{"4MiB", 4 << 20},
		{"256KiB", 256 << 10},
		{"262144", 256 << 10},
		{"1024MiB", 1 << 30},
		{"255KiB", 0},
		{"1025MiB", 0},
		{"4MB", 0},
		{"", 0},
		{"-1", 0},
		{"1.5MiB", 0},
		{"99999999999MiB", 0},
		{"4294967295MiB", 0},
	}
	for _, tt := range tests {
		if got, err := parseWindow(tt.in); got != tt.want || (err == nil) != (tt.want != 0) {
			t.Errorf("parseWindow(%q) = %d, %v, want %d", tt.in, got, err, tt.want)
		}
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"wss://user:pw@host/path?token=t#": "wss://host/path",
		"ws:/user:pw@host":                 "ws:/***@host",
		"wss//u:p@h/path":                  "wss//***@h/path",
		"user:pw@host:1":                   "***@host:1",
		"ws://user:12#pw@host":             "ws://***@host",
		"ws//host/?token=t0":               "ws//host/",
		"ws://host/@scope":                 "ws://host/@scope",
		"really?":                          "really?",
		"hostt:1":                          "hostt:1",
		"pkg.Service":                      "pkg.Service",
	} {
		if got := Redact(in); got != want {
			t.Errorf("Redact(%q) = %q, want %q", in, got, want)
		}
	}
}

// The token, each one that replaces it, and the headers are secrets.
func TestSecrets(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("first-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	secrets := &escape.Secrets{}
	e, err := NewDialing(&Options{URL: "ws://h/", Secrets: secrets, TokenFile: path, Header: []string{"X-Key: header-key"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Metadata("rpc-header", []string{"x-key: metadata-key"}, false, secrets); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("the second token"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.DialOptions(slog.New(slog.DiscardHandler))
	if got, want := secrets.Mask("first-token, the second token, header-key, metadata-key"), "***, ***, ***, ***"; got != want {
		t.Errorf("Mask = %q, want %q", got, want)
	}
}
