package commands

import (
	"strings"
	"syscall"
	"testing"

	"github.com/wstun/wstun/reflection/suggest"
)

func TestNear(t *testing.T) {
	app := (&program{}).app()
	var commands []string
	for _, cmd := range app.VisibleCommands() {
		commands = append(commands, cmd.Name)
	}
	flags := flagNames(app.Command("dial"))
	for _, tt := range []struct {
		name  string
		names []string
		want  string
	}{
		{"serv", commands, "serve"},
		{"dail", commands, "dial"},
		{"desc", commands, "describe"},
		{"hlep", commands, "help"},
		{"ls", commands, ""},
		{"tunnel", commands, ""},
		{"listn", flags, "listen"},
		{"loglevel", flags, "log-level"},
		{"headers", flags, "header"},
		{"retries", flags, "max-retries"},
		{"timeout", flags, "connect-timeout drain-timeout ping-timeout"},
		{"upstream", flags, ""},
		{"host", flags, "admin-host"},
		{"p", flags, ""},
	} {
		if got := strings.Join(suggest.Near(tt.name, tt.names), " "); got != tt.want {
			t.Errorf("Near(%q) = %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Flags of other tools have the names of wstun's in the hint.
func TestOtherTools(t *testing.T) {
	for line, want := range map[string]string{
		"list -k wss://h/":       "did you mean --insecure?",
		"call -o json ws://h/ M": "did you mean --output?",
		"list -o json ws://h/":   "see wstun list --help",
	} {
		if _, stderr, status := runLine(t, line); status != exitUsage || !strings.HasSuffix(stderr, "\nwstun: hint: "+want+"\n") {
			t.Errorf("wstun %s: status %d, %q, want %q", line, status, stderr, want)
		}
	}
}

// An error about the value of a variable names the variable.
func TestVariableMistakes(t *testing.T) {
	for _, tt := range []struct{ variable, value, line, want string }{
		{"WSTUN_MAX_TIME", "soon", "list ws://h/", `WSTUN_MAX_TIME "soon": want seconds, or a duration such as 1m30s`},
		{"WSTUN_COLOR", "blue", "list ws://h/", `WSTUN_COLOR: --color "blue": want auto, always or never`},
		{"WSTUN_COLOR", "blue", "list --color red ws://h/", `--color "red": want auto, always or never`},
		{"WSTUN_CONFIG", "missing", "list @x", "WSTUN_CONFIG: --config missing: " + syscall.ENOENT.Error()},
		{"WSTUN_INSECURE", "true", "list ws://h/", "WSTUN_INSECURE: --insecure with a URL that has no TLS"},
	} {
		t.Setenv(tt.variable, tt.value)
		_, stderr, status := runLine(t, tt.line)
		if got, _, _ := strings.Cut(stderr, "\n"); status != exitUsage || got != "wstun: "+tt.want {
			t.Errorf("%s=%s wstun %s: status %d, %q, want %q", tt.variable, tt.value, tt.line, status, stderr, tt.want)
		}
		t.Setenv(tt.variable, "")
	}
}
