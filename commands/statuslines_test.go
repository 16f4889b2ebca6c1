package commands

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/wstun/wstun/commands/terminal"
	"github.com/wstun/wstun/tunnel/escape"
)

func TestStatusLines(t *testing.T) {
	t.Parallel()
	var secrets escape.Secrets
	secrets.Add("s3cret-token")
	var out strings.Builder
	logger := slog.New(&statusLines{w: &out, secrets: &secrets, level: slog.LevelDebug})
	logger.Info("upstream up", slog.String("target", "a:1"), slog.Int("max_streams", 3))
	logger.With(slog.String("target", "a:1")).Warn("retry", slog.Any("err", errors.New("the token s3cret-token\n\x1b[2J")), slog.String("hint", "fix it"))
	logger.WithGroup("a").With(slog.Int("b", 1)).WithGroup("c").Error("gave up", slog.Int("d", 2), slog.String("reason", "e"))
	logger.Debug("grpc")
	const want = "wstun: upstream up (target a:1, max streams 3)\n" +
		`wstun: warning: retry: the token ***\n\x1b[2J (target a:1)` + "\nwstun: hint: fix it\n" +
		"wstun: error: gave up (a.b 1, a.c.d 2, a.c.reason e)\n" +
		"wstun: debug: grpc\n"
	if got := out.String(); got != want {
		t.Errorf("%s, want %s", got, want)
	}

	out.Reset()
	lines := &statusLines{w: &out, secrets: &secrets, level: slog.LevelWarn, colors: terminal.NewColors("always", false)}
	slog.New(lines).Info("too low")
	lines.write(slog.LevelInfo, terminal.Green, "too", " low")
	slog.New(lines).Warn("\x1b[2J")
	lines.write(slog.LevelWarn, terminal.Green, "session up", ": \x1b[2J")
	if got, want := out.String(), "wstun: \x1b[33mwarning: \x1b[0m\\x1b[2J\nwstun: \x1b[32msession up\x1b[0m: \\x1b[2J\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
