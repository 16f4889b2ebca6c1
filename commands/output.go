package commands

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"
)

// outputFlags are the flags of every command that runs for a while.
func outputFlags() []cli.Flag {
	return []cli.Flag{
		stringFlag("log-level", "log from `LEVEL` up: debug, info, warn or error", "info"),
		stringFlag("log-format", "log as `FORMAT`: text or json", "text"),
		stringFlag("output", "print results as `FORMAT`: text (addresses) or json (events)", "text"),
		pathFlag("ready-file", "write the address or URL to `PATH` once usable; removed at the end"),
	}
}

// output is where a command's results and logs go.
type output struct {
	logger       *slog.Logger
	readyFile    string
	readyWritten atomic.Bool

	mu     sync.Mutex
	stdout io.Writer // nil: results are not printed
	json   bool
}

// newOutput makes the output that c's flags ask for.
func (p *program) newOutput(c *cli.Context) (*output, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.String("log-level"))); err != nil {
		return nil, usagef("--log-level %q: want debug, info, warn or error", c.String("log-level"))
	}
	var handler slog.Handler
	opts := &slog.HandlerOptions{Level: level}
	switch format := c.String("log-format"); format {
	case "text":
		handler = slog.NewTextHandler(p.stderr, opts)
	case "json":
		handler = slog.NewJSONHandler(p.stderr, opts)
	default:
		return nil, usagef("--log-format %q: want text or json", format)
	}
	out := &output{logger: slog.New(handler), readyFile: c.Path("ready-file"), stdout: p.stdout}
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
	return out, nil
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
// ready file: the addresses or the URL to use.
func (o *output) setReady(lines ...string) {
	if o.readyFile != "" {
		if err := writeWhole(o.readyFile, strings.Join(lines, "\n")+"\n"); err != nil {
			o.logger.Error("ready file not written", slog.Any("err", err))
		} else {
			o.readyWritten.Store(true)
		}
	}
	o.event("ready", map[string]any{})
	o.logger.Info("ready")
}

// clearReadyFile removes what an earlier run has left, lest it look like this
// one's. It is for when this run has its addresses: until then another one may
// be running that is ready.
func (o *output) clearReadyFile() error {
	if o.readyFile == "" {
		return nil
	}
	if info, err := os.Lstat(o.readyFile); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("--ready-file %s: there is something that is not a file", o.readyFile)
	}
	if err := os.Remove(o.readyFile); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("--ready-file: %w", err)
	}
	return nil
}

// removeReadyFile removes the ready file if this run has written it.
func (o *output) removeReadyFile() error {
	if !o.readyWritten.Swap(false) {
		return nil
	}
	return o.clearReadyFile()
}

// writeWhole writes a file that others never see half-written.
func writeWhole(path, text string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = tmp.WriteString(text)
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}
