package commands

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
)

// grpcLog is the log of grpc-go, which all clients and servers of a process share. It logs
// everything to the command's logger at level Debug, because the statuses of calls have the
// errors that matter. It implements grpclog.LoggerV2.
type grpcLog struct {
	logger atomic.Pointer[slog.Logger] // nil until the flags are parsed: nothing is logged
}

// log logs the text that format returns.
func (g *grpcLog) log(severity string, format func() string) {
	if l := g.logger.Load(); l != nil && l.Enabled(context.Background(), slog.LevelDebug) {
		l.Debug("grpc", slog.String("severity", severity), slog.String("text", strings.TrimSpace(format())))
	}
}

func (g *grpcLog) print(severity string, args []any) {
	g.log(severity, func() string { return fmt.Sprintln(args...) })
}

func (g *grpcLog) printf(severity, format string, args []any) {
	g.log(severity, func() string { return fmt.Sprintf(format, args...) })
}

func (g *grpcLog) Info(args ...any)                    { g.print("info", args) }
func (g *grpcLog) Infoln(args ...any)                  { g.print("info", args) }
func (g *grpcLog) Infof(format string, args ...any)    { g.printf("info", format, args) }
func (g *grpcLog) Warning(args ...any)                 { g.print("warning", args) }
func (g *grpcLog) Warningln(args ...any)               { g.print("warning", args) }
func (g *grpcLog) Warningf(format string, args ...any) { g.printf("warning", format, args) }
func (g *grpcLog) Error(args ...any)                   { g.print("error", args) }
func (g *grpcLog) Errorln(args ...any)                 { g.print("error", args) }
func (g *grpcLog) Errorf(format string, args ...any)   { g.printf("error", format, args) }
func (g *grpcLog) Fatal(args ...any)                   { g.print("fatal", args) } // grpclog ends the process
func (g *grpcLog) Fatalln(args ...any)                 { g.print("fatal", args) }
func (g *grpcLog) Fatalf(format string, args ...any)   { g.printf("fatal", format, args) }

// V reports that verbose messages aren't needed.
func (g *grpcLog) V(level int) bool { return level <= 0 }
