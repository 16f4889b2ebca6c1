package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// program is one process of the benchmark: the first, or one that it starts from its own
// binary.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
}

// main runs the program and returns the exit status. In a child process, the first
// argument is its role.
func (p *program) main(ctx context.Context, args []string) int {
	var err error
	switch {
	case len(args) > 0 && args[0] == measureCommand:
		err = p.measure(ctx, args[1:])
	case len(args) > 0 && roles[args[0]] != nil:
		err = roles[args[0]](ctx, args[1:], p.stdin, p.stdout)
	default:
		err = p.prepare(ctx, args)
	}
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errReported):
		return 1
	}
	fmt.Fprintf(p.stderr, "bench: %v\n", err)
	return 1
}

// errReported means that the error has already been printed.
var errReported = errors.New("reported")

// options are the command-line flags.
type options struct {
	rounds        int
	duration      time.Duration
	work, systems *regexp.Regexp
	bases         []string // show the ratios to these systems
	full          bool
	secure        bool // run all workloads with TLS, too
	markdown      bool
	netns         bool
	wstun         binaries
	chisel        string
	frps, frpc    string
}

// binaries are names and paths of wstun binaries, in the order of the command line.
type binaries [][2]string

func (b *binaries) String() string { return "" }

func (b *binaries) Set(s string) error {
	name, path, ok := strings.Cut(s, "=")
	if !ok {
		name, path = "wstun", s
	}
	path, err := exec.LookPath(path)
	if err != nil {
		return err
	}
	path, err = filepath.Abs(path)
	*b = append(*b, [2]string{name, path})
	return err
}

func (p *program) parse(args []string) (*options, error) {
	var o options
	var work, systems, bases string
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(p.stderr)
	fs.IntVar(&o.rounds, "rounds", 5, "run everything `N` times")
	fs.DurationVar(&o.duration, "duration", time.Second, "measure for this long each time")
	fs.StringVar(&work, "work", ".", "run the workloads whose names match `REGEXP`")
	fs.StringVar(&systems, "systems", ".", "measure the systems whose names match `REGEXP`")
	fs.StringVar(&bases, "bases", "pair,frp,chisel", "show ratios to those of these `SYSTEMS` that are measured")
	fs.BoolVar(&o.full, "full", false, "also run the workloads that take minutes, once each")
	fs.BoolVar(&o.secure, "tls", false, "also run workloads with TLS for which it makes little difference: links, memory")
	fs.BoolVar(&o.markdown, "markdown", false, "print one table for RESULTS.md instead")
	fs.BoolVar(&o.netns, "netns", true, "use a network namespace if possible")
	fs.Var(&o.wstun, "wstun", "measure the wstun at `NAME=PATH`; repeatable (default: built from this tree)")
	fs.StringVar(&o.chisel, "chisel", "chisel", "`PATH` of chisel; skipped if not found")
	fs.StringVar(&o.frps, "frps", "frps", "`PATH` of frp's server; skipped if not found")
	fs.StringVar(&o.frpc, "frpc", "frpc", "`PATH` of frp's client")
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil, err
	case err != nil:
		return nil, errReported
	case fs.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case o.rounds < 1 || o.duration <= 0:
		return nil, errors.New("-rounds and -duration: want more than 0")
	}
	if o.work, err = regexp.Compile(work); err != nil {
		return nil, fmt.Errorf("-work: %w", err)
	}
	if o.systems, err = regexp.Compile(systems); err != nil {
		return nil, fmt.Errorf("-systems: %w", err)
	}
	o.bases = strings.Split(bases, ",")
	return &o, nil
}

// prepare builds wstun unless -wstun is given, and then measures in a network namespace
// or, without one, in this process.
func (p *program) prepare(ctx context.Context, args []string) error {
	o, err := p.parse(args)
	if err != nil {
		return err
	}
	if len(o.wstun) == 0 {
		dir, err := os.MkdirTemp("", "wstun-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "wstun"+exeSuffix())
		fmt.Fprintln(p.stderr, "building wstun")
		build := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/wstun/wstun")
		build.Stderr = p.stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("go build: %w", err)
		}
		args = append([]string{"-wstun", "wstun=" + path}, args...)
	}
	if o.netns {
		err := p.inNamespace(ctx, append([]string{measureCommand}, args...))
		if !errors.Is(err, errNoNamespace) {
			return err
		}
		fmt.Fprintf(p.stderr, "%v: measuring in the machine's own network\n", err)
	}
	return p.measure(ctx, args)
}

// errNoNamespace means that no network namespace can be created.
var errNoNamespace = errors.New("no network namespace")

func exeSuffix() string {
	if runtime.GOOS == "windows" {
		return ".exe"
	}
	return ""
}
