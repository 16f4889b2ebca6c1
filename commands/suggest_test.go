package commands

import (
	"strings"
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
		{"host", flags, ""},
		{"p", flags, ""},
	} {
		if got := strings.Join(suggest.Near(tt.name, tt.names), " "); got != tt.want {
			t.Errorf("Near(%q) = %q, want %q", tt.name, got, tt.want)
		}
	}
}
