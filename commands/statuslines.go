package commands

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/wstun/wstun/commands/terminal"
	"github.com/wstun/wstun/tunnel/escape"
)

// statusLines writes to a terminal: lines that report events, and, as a
// [slog.Handler], log records as lines of the same form:
//
//	wstun: session up: wss://worker.example/v1/ws/sync
//	wstun: warning: upstream down: connection refused (upstream 127.0.0.1:50051)
//	wstun: hint: …
type statusLines struct {
	w       io.Writer // the terminal, unmasked
	secrets *escape.Secrets
	colors  terminal.Colors
	level   slog.Level
	group   string      // of the records' attributes, with a dot at its end
	attrs   []slog.Attr // of each record
}

func (p *program) newStatusLines(level slog.Level) *statusLines {
	return &statusLines{w: unmasked(p.stderr), secrets: &p.secrets, colors: p.colors(p.stderr), level: level}
}

// write writes a line, the beginning of which is colored, unless the level is too low.
func (l *statusLines) write(level slog.Level, c terminal.Color, begin, rest string) {
	if level >= l.level {
		fmt.Fprintf(l.w, "wstun: %s%s\n", l.colors.Paint(c, begin), escape.Line(l.secrets.Mask(rest)))
	}
}

// Enabled implements slog.Handler.
func (l *statusLines) Enabled(_ context.Context, level slog.Level) bool { return level >= l.level }

// Handle implements slog.Handler.
func (l *statusLines) Handle(_ context.Context, r slog.Record) error {
	text, hint := r.Message, ""
	var rest []string
	add := func(a slog.Attr) {
		switch value := a.Value.Resolve().String(); a.Key {
		case "err", "reason":
			text += ": " + value
		case "hint":
			hint = value
		default:
			rest = append(rest, strings.ReplaceAll(a.Key, "_", " ")+" "+value)
		}
	}
	for _, a := range l.attrs {
		add(a)
	}
	r.Attrs(func(a slog.Attr) bool {
		a.Key = l.group + a.Key
		add(a)
		return true
	})
	if len(rest) > 0 {
		text += " (" + strings.Join(rest, ", ") + ")"
	}
	c, begin := terminal.Color(""), ""
	switch {
	case r.Level >= slog.LevelError:
		c, begin = terminal.Red, "error: "
	case r.Level >= slog.LevelWarn:
		c, begin = terminal.Yellow, "warning: "
	case r.Level < slog.LevelInfo:
		c, begin = terminal.Dim, "debug: "
	}
	l.write(r.Level, c, begin, text)
	if hint != "" {
		l.write(r.Level, "", "hint: ", hint)
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (l *statusLines) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *l
	with.attrs = slices.Clip(l.attrs)
	for _, a := range attrs {
		a.Key = l.group + a.Key
		with.attrs = append(with.attrs, a)
	}
	return &with
}

// WithGroup implements slog.Handler.
func (l *statusLines) WithGroup(name string) slog.Handler {
	with := *l
	with.group += name + "."
	return &with
}
