package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
)

// outputFlags are the flags of every command that runs for a while.
func outputFlags() []cli.Flag {
	return []cli.Flag{
		stringFlag("log-level", "log from `LEVEL` up: debug, info, warn or error", "info"),
		stringFlag("log-format", "log as `FORMAT`: text or json", "text"),
		stringFlag("output", "print results as `FORMAT`: text (addresses) or json (events)", "text"),
		pathFlag("ready-file", "write the addresses or the URL to `PATH` once usable; removed at the end"),
	}
}

// output is where a command's results and logs go.
type output struct {
	logger *slog.Logger
	ready  readyFile
	fail   context.CancelCauseFunc // ends the command, in order

	mu     sync.Mutex
	stdout io.Writer // tells of errors itself, see results; nil: results are not printed
	json   bool
}

// newLogger makes the logger that c's flags ask for.
func (p *program) newLogger(c *cli.Context) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.String("log-level"))); err != nil {
		return nil, usagef("--log-level %q: want debug, info, warn or error", c.String("log-level"))
	}
	opts := &slog.HandlerOptions{Level: level}
	switch format := c.String("log-format"); format {
	case "text":
		return slog.New(slog.NewTextHandler(p.stderr, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(p.stderr, opts)), nil
	default:
		return nil, usagef("--log-format %q: want text or json", format)
	}
}

// newOutput makes the output that c's flags ask for.
func (p *program) newOutput(c *cli.Context) (*output, error) {
	logger, err := p.newLogger(c)
	if err != nil {
		return nil, err
	}
	out := &output{logger: logger, ready: readyFile{path: c.Path("ready-file")}, fail: p.fail, stdout: p.stdout}
	switch format := c.String("output"); format {
	case "text":
	case "json":
		out.json = true
	default:
		return nil, usagef("--output %q: want text or json", format)
	}
	if p.hasCommand {
		out.stdout = nil // it is the command's
	}
	return out, out.ready.check()
}

// event prints one JSON object, if that is the format.
func (o *output) event(name string, fields map[string]any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.json || o.stdout == nil {
		return
	}
	fields["event"] = name
	fields["time"] = time.Now().UTC().Format(time.RFC3339Nano)
	line, err := json.Marshal(fields)
	if err != nil {
		o.logger.Error("event not printed", slog.Any("err", err))
		return
	}
	_, _ = o.stdout.Write(append(line, '\n'))
}

// listening tells what is listened on: key is "address" or "url".
func (o *output) listening(key, value string) {
	o.event("listening", map[string]any{key: value})
	o.logger.Info("listening", slog.String(key, value))
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.json && o.stdout != nil {
		fmt.Fprintln(o.stdout, value)
	}
}

// setReady tells once that the command has become usable. lines go to the
// ready file: the addresses or the URL to use. If it can't be written, the
// command ends, and setReady returns false.
func (o *output) setReady(lines ...string) bool {
	if o.ready.path != "" {
		if err := o.ready.write(strings.Join(lines, "\n") + "\n"); err != nil {
			o.fail(&outputError{"--ready-file " + o.ready.path, err})
			return false
		}
	}
	o.event("ready", map[string]any{})
	o.logger.Info("ready")
	return true
}

// results is stdout. A result that can't be printed is an error of the whole
// command, which it ends.
type results struct {
	io.Writer
	fail context.CancelCauseFunc
}

func (r results) Write(p []byte) (int, error) {
	n, err := r.Writer.Write(p)
	if err != nil {
		r.fail(&outputError{"stdout", pathCause(err)})
	}
	return n, err
}

// catchBrokenPipes has writing to a closed pipe be an error, like any other. By
// default it ends the process, which suits a command that only prints something.
func catchBrokenPipes() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // Ignore would go on to a command that is run
}

// outputError is why a command ended that could have gone on.
type outputError struct {
	what string
	err  error
}

func (e *outputError) Error() string { return e.what + ": " + e.err.Error() }
func (e *outputError) Unwrap() error { return e.err }

// pathCause is err without the name of the file and of the system call.
func pathCause(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}
