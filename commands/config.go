package commands

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/config"
	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel/escape"
)

func (p *program) configCommand() *cli.Command {
	o := &configOptions{}
	return &cli.Command{
		Name:      "config",
		Usage:     "print the named targets, the settings that apply, and where they come from",
		ArgsUsage: "[TARGET]",
		UsageText: "wstun config [flags] [TARGET]",
		Description: "Prints the path of the configuration, its targets, and the settings of TARGET, or of that of " +
			"WSTUN_TARGET: those of variables, those of the file with their lines, and the defaults. Secrets are masked.\n\n" +
			"The file has values of flags, by their names, for each target:\n\n" +
			"  targets:\n" +
			"    staging:\n" +
			"      url: wss://worker.example/v1/ws/sync  # or a gRPC server's address\n" +
			"      token-file: staging.token             # relative to this file\n" +
			"      header: [\"X-Env: staging\"]\n\n" +
			"@staging or --target staging then stands for the URL or TARGET of any command, with those of the flags that the command has. " +
			"The command line overrides variables, and these the file.",
		Flags: []cli.Flag{
			usage.String(&o.output, "output", "print as `FORMAT`: text, or json: an object a setting", "text"),
		},
		Action: action(p, o, p.config),
	}
}

// configOptions are the values of the command line of wstun config.
type configOptions struct {
	given  usage.Given
	target string // a name, with or without @, an address, or empty
	output string
}

func (o *configOptions) parse(in *invocation) (err error) {
	o.given = in.given
	if o.target, err = in.argument(); err != nil {
		return err
	}
	return usage.OneOf("output", o.output, "text", "json")
}

// The sources of settings.
const (
	fromLine     = "command line"
	fromVariable = "environment"
	fromFile     = "file"
	fromDefault  = "default"
)

// setting is one line of the output.
type setting struct {
	Key      string   `json:"key"`
	Value    string   `json:"value"`
	Source   string   `json:"source"`
	Variable string   `json:"variable,omitempty"`
	File     string   `json:"file,omitempty"`
	Line     int      `json:"line,omitempty"`
	Commands []string `json:"commands,omitempty"` // that have this default, if others don't
	Missing  bool     `json:"missing,omitempty"`  // there is no such file
}

// origin returns the source for a reader.
func (s *setting) origin() string {
	switch {
	case s.Line > 0:
		return fmt.Sprintf("%s:%d", s.File, s.Line)
	case s.Missing:
		return s.Source + ", doesn't exist"
	case len(s.Commands) > 0:
		return s.Source + " of " + strings.Join(s.Commands, ", ")
	}
	return cmp.Or(s.Variable, s.Source)
}

func (p *program) config(_ context.Context, o *configOptions) error {
	file, err := p.loadConfig()
	if err != nil {
		return err
	}
	all := []setting{p.configFile(o, file)}
	if file != nil {
		for _, name := range slices.Sorted(maps.Keys(file.Targets)) {
			t := file.Targets[name]
			all = append(all, setting{Key: "@" + name, Value: strings.Join(t.Get(config.URL), ""), Source: fromFile, File: file.Path, Line: t.Line})
		}
	}
	chosen, err := p.chosenTarget(o)
	if err != nil {
		return err
	}
	all = append(all, chosen...)
	all = append(all, p.named.defaults(all)...)
	keys := p.named.keys()
	for i := range all {
		s := &all[i]
		if name, _, ok := strings.Cut(s.Value, ":"); ok && keys[s.Key].Kind == config.Header {
			s.Value = name + ": ***"
		} else if s.Value = endpoint.Redact(s.Value); s.Key == "token" {
			s.Value = "***"
		}
	}
	return printSettings(p.stdout, o.output, all)
}

// configFile returns the setting of the file itself.
func (p *program) configFile(o *configOptions, file *config.File) setting {
	s := setting{Key: "config", Source: fromDefault}
	s.Value, _ = p.named.filePath() // loadConfig has had no error
	s.Missing = file == nil && s.Value != noName
	s.setBy(o.given, "config")
	return s
}

// setBy sets the source of a flag that may be set.
func (s *setting) setBy(given usage.Given, flag string) {
	switch {
	case given[flag]:
		s.Source = fromLine
	case given.Set(flag):
		s.Source, s.Variable = fromVariable, usage.Variable(flag)
	}
}

// chosenTarget returns the settings of the target on the command line, or that of
// WSTUN_TARGET, and of the variables.
func (p *program) chosenTarget(o *configOptions) (all []setting, err error) {
	word := cmp.Or(o.target, p.named.name)
	var t *config.Target
	if word != "" && word != noName {
		s := setting{Key: "target", Value: word, Source: fromLine}
		if o.target == "" {
			s.setBy(o.given, "target")
		}
		all = append(all, s)
		if !isAddress(word) {
			if t, err = p.findTarget(strings.TrimPrefix(word, "@")); err != nil {
				return nil, err
			}
		}
	}
	fromTarget := func(key string) {
		if t != nil {
			for _, value := range t.Get(key) {
				all = append(all, setting{Key: key, Value: value, Source: fromFile, File: p.named.file.Path, Line: t.Setting(key).Line})
			}
		}
	}
	fromTarget(config.URL)
	keys := p.named.keys()
	delete(keys, config.URL)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		name, variable := key, usage.Variable(key)
		if key == tokenFlag && os.Getenv(variable) == "" {
			name, variable = "token", "WSTUN_TOKEN" // which stands in for the flag
		}
		switch value := os.Getenv(variable); {
		case keys[key].Kind == config.CommandLine:
		case value != "":
			all = append(all, setting{Key: name, Value: value, Source: fromVariable, Variable: variable})
		default:
			fromTarget(key)
		}
	}
	return all, nil
}

// defaults returns the defaults of the flags that no setting in set has set.
func (t *namedTarget) defaults(set []setting) (all []setting) {
	commands := make(map[string]int) // that have a flag
	for _, cmd := range t.commands {
		if cmd.Name == "config" {
			continue
		}
		for _, f := range cmd.Flags {
			s := setting{Key: f.Names()[0], Source: fromDefault}
			commands[s.Key]++
			if d, ok := f.(cli.DocGenerationFlag); ok && d.TakesValue() {
				s.Value = d.GetValue()
			}
			if s.Value == "" || slices.ContainsFunc(set, func(other setting) bool { return other.Key == s.Key }) {
				continue
			}
			i := slices.IndexFunc(all, func(other setting) bool { return other.Key == s.Key && other.Value == s.Value })
			if i < 0 {
				i, all = len(all), append(all, s)
			}
			all[i].Commands = append(all[i].Commands, cmd.Name)
		}
	}
	slices.SortStableFunc(all, func(a, b setting) int { return cmp.Compare(a.Key, b.Key) })
	for i := range all {
		if s := &all[i]; len(s.Commands) == commands[s.Key] {
			s.Commands = nil
		}
	}
	return all
}

func printSettings(w io.Writer, format string, all []setting) error {
	if format == "json" {
		for i := range all {
			line, err := json.Marshal(&all[i])
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(w, "%s\n", escape.Text(string(line))); err != nil {
				return err
			}
		}
		return nil
	}
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for i := range all {
		fmt.Fprintf(table, "%s\t%s\t%s\n", escape.Line(all[i].Key), escape.Line(all[i].Value), escape.Line(all[i].origin()))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, text.String())
	return err
}
