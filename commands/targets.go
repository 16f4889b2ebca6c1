package commands

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/completion"
	"github.com/wstun/wstun/commands/config"
	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/target"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/reflection/suggest"
)

// noName is the value of --target and --config for no target and no file.
const noName = "none"

// namedTarget is the target that --target, WSTUN_TARGET or an argument @NAME names, and
// the file with its name.
type namedTarget struct {
	name, path string // the values of the flags

	addr         string                    // the URL or address that the command line has from here
	fromVariable bool                      // name is that of WSTUN_TARGET
	commands     []*cli.Command            // with a URL or TARGET
	file         *config.File              // nil until it is needed, and without a file
	settings     map[string]config.Setting // those of the target that apply, by key
}

func (t *namedTarget) flags() []cli.Flag {
	return []cli.Flag{
		usage.String(&t.name, "target", "use the named target `NAME`, as the argument @NAME does, or a URL or address; none: ignore WSTUN_TARGET", ""),
		usage.Path(&t.path, "config", "read named targets from `PATH`; none: from no file (default: wstun/config.yaml in the user's configuration folder)"),
	}
}

// targetIndex returns the index of the URL or TARGET among the arguments of a command, -1
// if it has none.
func targetIndex(cmd *cli.Command) int {
	return slices.IndexFunc(strings.Fields(cmd.ArgsUsage), func(arg string) bool {
		return strings.Contains(arg, "TARGET") || strings.Contains(arg, "URL")
	})
}

// keys returns the keys of a target in the file: its URL, and the flags of all commands with
// a URL or TARGET. Those without a variable are only for the command line.
func (t *namedTarget) keys() config.Keys {
	keys := config.Keys{config.URL: {Kind: config.Address}}
	for _, cmd := range t.commands {
		for _, f := range cmd.Flags {
			keys[f.Names()[0]] = config.Key{Kind: kindOf(f), Repeatable: isRepeatable(f)}
		}
	}
	return keys
}

func kindOf(f cli.Flag) config.Kind {
	name := f.Names()[0]
	if d, ok := f.(cli.DocGenerationFlag); !ok || len(d.GetEnvVars()) == 0 || name == "target" || name == "config" {
		return config.CommandLine
	}
	switch f.(type) {
	case *cli.BoolFlag:
		return config.Bool
	case *cli.IntFlag:
		return config.Int
	case *cli.DurationFlag:
		return config.Duration
	case *cli.GenericFlag:
		if _, value := describeFlag(f); value == "TIME" {
			return config.Seconds
		}
		return config.Size
	}
	switch _, value := describeFlag(f); {
	case strings.Contains(value, ": "):
		return config.Header
	case value == "ADDR", value == "URL":
		return config.Address
	case name == "proto":
		return config.ProtoFile
	case pathsOf(f) != completion.NoPaths:
		return config.Path
	}
	return config.Text
}

// applyTarget puts the URL or address of a named target in the place of @NAME among the
// arguments, or, if they have no URL or TARGET, that of --target or WSTUN_TARGET. It sets
// the flags that a named target has and the command line and the environment haven't.
func (p *program) applyTarget(c *cli.Context, in *invocation) error {
	i := targetIndex(c.Command)
	if i < 0 || in.cmd == "config" { // which evaluates them itself
		return nil
	}
	if in.given["config"] {
		if _, err := p.loadConfig(); err != nil {
			return err
		}
	}
	isURL := strings.Contains(c.Command.ArgsUsage, "URL") && in.cmd != "workers" // whose PREFIX may be in its place
	hasOperand := len(in.args) > i && (isURL || in.given["unix"] || target.IsTarget(in.args[i]))
	acceptsInstead := in.given["accept"] && in.cmd != "tap" // which also accepts
	word := p.named.name
	switch {
	case hasOperand && in.given["target"]:
		return usage.Errorf("both --target %s and %s: give one of them", endpoint.Redact(word), endpoint.Redact(in.args[i]))
	case hasOperand:
		word = in.args[i]
		if !strings.HasPrefix(word, "@") {
			return nil
		}
	case word == "" || word == noName || len(in.args) < i:
		return nil
	case acceptsInstead && !in.given["target"]: // so the variable is meant for other commands
		return nil
	}
	p.addSecrets([]string{word})
	p.named.fromVariable = !hasOperand && !in.given["target"]
	addr := word
	if !isAddress(word) {
		t, err := p.findTarget(strings.TrimPrefix(word, "@"))
		if err != nil {
			return err
		}
		if addr, err = p.applySettings(c, in, t); err != nil {
			return err
		}
	}
	if acceptsInstead {
		addr = ""
	}
	if in.cmd == "serve" && addr != "" && p.named.fromVariable {
		fmt.Fprintf(p.stderr, "wstun: warning: WSTUN_TARGET is set: serve dials %s; it accepts with --accept, or --target none\n", endpoint.Redact(addr))
	}
	p.named.addr = addr
	end := i
	if hasOperand {
		end++
	}
	var addrs []string
	if addr != "" {
		addrs = []string{addr}
	}
	in.args = slices.Replace(slices.Clone(in.args), i, end, addrs...)
	return nil
}

// isAddress reports whether a target is a URL or address, and not a name.
func isAddress(word string) bool { return strings.Contains(word, ":") && !strings.HasPrefix(word, "@") }

// alternatives has flags that are ignored in a target if another one is set otherwise, because
// it allows no other.
var alternatives = map[string]string{
	"proto": "protoset", "import-path": "protoset", "protoset": "proto", "stub": "upstream", "upstream": "stub",
}

// applySettings sets the flags that t has and that aren't set. It returns t's URL or address.
func (p *program) applySettings(c *cli.Context, in *invocation, t *config.Target) (addr string, err error) {
	p.named.settings = make(map[string]config.Setting)
	keys, given := p.named.keys(), maps.Clone(in.given)
	for _, s := range t.Settings {
		f := findFlag(c.Command.Flags, s.Key)
		if given.Set(s.Key) || given.Set(alternatives[s.Key]) || f == nil && s.Key != config.URL { // a flag of other commands
			continue
		}
		p.named.settings[s.Key] = s
		if keys[s.Key].Kind == config.Address {
			p.addSecrets(s.Values)
		}
		if s.Key == config.URL {
			addr = s.Values[0]
			continue
		}
		for _, value := range s.Values {
			if err := c.Set(s.Key, value); err != nil {
				return "", usage.Errorf("%s:%d: %s: %w", p.named.file.Path, s.Line, s.Key, err)
			}
		}
		for _, name := range f.Names() {
			in.given[name] = false // as from a variable
		}
	}
	return addr, nil
}

// locate adds the source to an error about a value: the position in the file, or the
// variable.
func (p *program) locate(err *usage.Error) {
	t, text := &p.named, err.Error()
	key := config.URL
	if rest, ok := strings.CutPrefix(text, "--"); ok {
		key = rest
		if i := strings.IndexAny(rest, ": "); i > 0 {
			key = rest[:i]
		}
	} else if !strings.HasPrefix(text, "the URL") && !strings.HasPrefix(text, "no target @") && !strings.HasPrefix(text, strconv.Quote(endpoint.Redact(t.addr))) {
		return
	}
	onLine, given := p.given[key]
	variable := usage.Variable(key)
	if key == config.URL {
		given, variable = t.fromVariable, usage.Variable("target")
	}
	if s, ok := t.settings[key]; ok {
		err.Err = fmt.Errorf("%s:%d: %w", t.file.Path, s.Line, err.Err)
	} else if given && !onLine && os.Getenv(variable) != "" {
		err.Err = fmt.Errorf("%s: %w", variable, err.Err)
	}
}

// isTargetName reports whether word is the name of a target in the file, without "@".
func (p *program) isTargetName(word string) bool {
	if strings.ContainsAny(word, "@:/") {
		return false
	}
	file, err := p.loadConfig()
	return err == nil && file != nil && file.Targets[word] != nil
}

// loadConfig reads the file, once. It returns nil if there is none at the default path, or
// --config or WSTUN_CONFIG is none. It warns if others have access to headers in the file.
// Errors are usage errors.
func (p *program) loadConfig() (*config.File, error) {
	t := &p.named
	if t.path == noName || t.file != nil {
		return t.file, nil
	}
	path, err := t.filePath()
	if err != nil {
		return nil, usage.Errorf("no folder for the configuration: %w", err)
	}
	keys := t.keys()
	f, err := config.Load(path, keys)
	switch pe, ok := errors.AsType[*fs.PathError](err); {
	case ok && t.path == "" && errors.Is(pe, fs.ErrNotExist):
		return nil, nil //nolint:nilnil // no file, no error
	case ok && t.path != "":
		return nil, usage.Errorf("--config %s: %w", path, pe.Err)
	case ok:
		return nil, usage.Errorf("%s: %w", path, pe.Err)
	case err != nil:
		return nil, &usage.Error{Err: err, Advice: "wstun config --help describes the file"}
	}
	if f.Shared && f.HasHeaders(keys) {
		fmt.Fprintf(p.stderr, "wstun: warning: other users have access to %s, which has headers: chmod 600 %s\n", path, path)
	}
	t.file = f
	return f, nil
}

func (t *namedTarget) filePath() (string, error) {
	if t.path != "" {
		return t.path, nil
	}
	return config.DefaultPath()
}

// findTarget returns the target with a name.
func (p *program) findTarget(name string) (*config.Target, error) {
	file, err := p.loadConfig()
	if err != nil {
		return nil, err
	}
	if file == nil {
		ue := &usage.Error{Err: fmt.Errorf("no target @%s: --config or WSTUN_CONFIG is none", name), Advice: "give the file with --config, or a URL"}
		if path, err := p.named.filePath(); path != noName && err == nil {
			ue.Err = fmt.Errorf("no target @%s: there is no file %s", name, path)
			ue.Advice = "name targets in that file, or in another one with --config"
		}
		return nil, ue
	}
	t := file.Targets[name]
	if t == nil {
		return nil, &usage.Error{Err: fmt.Errorf("no target @%s in %s", name, file.Path), Advice: targetAdvice(name, file)}
	}
	return t, nil
}

// targetAdvice returns the names in file that name may stand for.
func targetAdvice(name string, file *config.File) string {
	at := func(names []string) []string {
		for i := range names {
			names[i] = "@" + names[i]
		}
		return names
	}
	const most = 10
	names := slices.Sorted(maps.Keys(file.Targets))
	if near := suggest.Near(name, names); len(near) > 0 {
		return "did you mean " + orList(at(near)) + "?"
	}
	if len(names) == 0 {
		return "it has no targets"
	}
	if len(names) > most {
		return fmt.Sprintf("it has %d targets: wstun config lists them", len(names))
	}
	return "it has " + strings.Join(at(names), ", ")
}
