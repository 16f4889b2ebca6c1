package commands

import (
	"flag"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
)

// Flags may stand anywhere before "--". A word of "=" stands between flags, operands and
// the rest in want.
func TestParseLine(t *testing.T) {
	flags := quietProgram().app().Command("call").Flags
	for _, tt := range []struct {
		line, want string
		pending    string
	}{
		{"h:1 M -d {}", "-d {} = h:1 M", ""},
		{"-d {} h:1 M", "-d {} = h:1 M", ""},
		{"h:1 -d {} M -v", "-d {} -v = h:1 M", ""},
		{"h:1 M --data={} -data={}", "--data={} -data={} = h:1 M", ""},
		{"h:1 -plaintext M", "-plaintext = h:1 M", ""},
		{"h:1 --plaintext=false M", "--plaintext=false = h:1 M", ""},
		{"h:1 --plaintext false", "--plaintext = h:1 false", ""}, // as package flag
		{"h:1 -H a:b M --header c:d", "-H a:b --header c:d = h:1 M", ""},
		{"h:1 M --count -1", "--count -1 = h:1 M", ""},
		{"h:1 M --data --verbose", "--data --verbose = h:1 M", ""}, // as package flag
		{"h:1 M -1", "= h:1 M -1", ""},
		{"h:1 M -.5 -", "= h:1 M -.5 -", ""},
		{"--data - h:1 M", "--data - = h:1 M", ""},
		{"h:1 --nonsense M", "--nonsense = h:1 M", ""},
		{"h:1 -Hx: M", "-Hx: = h:1 M", ""},
		{"h:1 M --count", "--count = h:1 M", "count"},
		{"h:1 M -d -- -v", "-d = h:1 M = -- -v", "data"},
		{"-v h:1 -- -v x --", "-v = h:1 = -- -v x --", ""},
		{"h:1 M -h", "-h = h:1 M", ""},
		{"h:1 ---data -=x", "---data -=x = h:1", ""},
	} {
		l := parseLine(flags, strings.Split(tt.line, " "))
		parts := []string{strings.Join(l.flagWords(), " "), strings.Join(l.operands, " "), strings.Join(l.rest, " ")}
		got := strings.TrimSpace(strings.TrimSuffix(strings.Join(parts, " = "), " = "))
		var pending string
		if l.pending != nil {
			pending = l.pending.Names()[0]
		}
		if got != tt.want || pending != tt.pending {
			t.Errorf("%q: %q with %q pending, want %q with %q", tt.line, got, pending, tt.want, tt.pending)
		}
	}
}

// Whether a flag takes a value must not depend on the command: flags may stand before it.
func TestFlagsAgree(t *testing.T) {
	takes := make(map[string]bool)
	for _, cmd := range quietProgram().app().Commands {
		for _, f := range cmd.Flags {
			for _, name := range f.Names() {
				if before, ok := takes[name]; ok && before != takesValue(f) {
					t.Errorf("%s of wstun %s: takes a value: %v, want %v as for other commands", dashes(name)+name, cmd.Name, !before, before)
				}
				takes[name] = takesValue(f)
			}
		}
	}
}

// Command lines with flags in any place have the same options.
func TestFlagsAnywhere(t *testing.T) {
	for _, line := range []string{
		"call -d {} -H a:b -H c:d --count 3 -v ws://h/ M",
		"call ws://h/ M -d {} -H a:b -H c:d --count 3 -v",
		"call ws://h/ -v M -data={} --header=a:b -H=c:d -count=3",
		"call -H a:b ws://h/ --verbose=true -d {} -H c:d M --count 3",
		"-v --count 3 call ws://h/ M {} -H a:b -H c:d",
		"-v call -H a:b -H c:d ws://h/ M {} --count=3",
	} {
		options, err := parse(t, strings.Split(line, " ")...)
		o, ok := options.(*callOptions)
		if err != nil || !ok || o.data != "{}" || !o.dataGiven || !slices.Equal(o.target.Endpoint.Header, []string{"a:b", "c:d"}) ||
			o.count != 3 || !o.verbose || o.target.Addr != "ws://h/" || o.method != "M" {
			t.Errorf("%q: %+v, %v", line, options, err)
		}
	}
	options, err := parse(t, "call", ":1", "M", "-1", "--count", "-1", "-connect-timeout", "2", "--max-time=0.5")
	if err == nil || err.Error() != "--count -1: want 0 or more" {
		t.Errorf("%+v, %v; want -1 as the value of --count", options, err)
	}
	options, err = parse(t, "call", ":1", "M", "-1", "-connect-timeout", "2", "--max-time=0.5")
	if o, ok := options.(*callOptions); err != nil || !ok || o.data != "-1" || o.target.Endpoint.ConnectTimeout != 2*time.Second || o.target.MaxTime != time.Second/2 {
		t.Errorf("%+v, %v; want -1 as the message", options, err)
	}
	options, err = parse(t, "list", "/tmp/socket", "-unix", "-plaintext", "Hub")
	if o, ok := options.(*listOptions); err != nil || !ok || o.target.Addr != "unix:/tmp/socket" || o.service != "Hub" {
		t.Errorf("%+v, %v; want a socket", options, err)
	}
	options, err = parse(t, "trace", "-", "--output", "json")
	if o, ok := options.(*traceOptions); err != nil || !ok || o.file != "" || o.output != "json" {
		t.Errorf("%+v, %v; want standard input", options, err)
	}
}

// flagSet returns a set of package flag with flags of the same names and kinds.
func flagSet(t *testing.T, flags []cli.Flag) *flag.FlagSet {
	t.Helper()
	set := flag.NewFlagSet("", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for _, f := range flags {
		for _, name := range f.Names() {
			if takesValue(f) {
				set.String(name, "", "")
			} else {
				set.Bool(name, false, "")
			}
		}
	}
	return set
}

// parseLine neither loses nor invents a word, keeps the order of flags and of operands, and
// changes nothing in its own result. Package flag agrees about the operands.
func FuzzParseLine(f *testing.F) {
	for _, line := range []string{
		"h:1 M -d {}", "h:1 --count -1 -v M -- -x", "-H a:b -H", "--nonsense x -1 - --", "-data=x --data --", "-vv=true - ---x -=", "--unix false --",
	} {
		f.Add(strings.ReplaceAll(line, " ", "\x00"))
	}
	flags := quietProgram().app().Command("call").Flags
	f.Fuzz(func(t *testing.T, line string) {
		words := strings.Split(line, "\x00")
		l := parseLine(flags, words)
		var merged []string // the operands at their places, and the flags at the others
		options := l.flagWords()
		for i := range len(words) - len(l.rest) {
			switch {
			case slices.Contains(l.at, i):
				merged = append(merged, l.operands[slices.Index(l.at, i)])
			case len(options) > 0:
				merged, options = append(merged, options[0]), options[1:]
			}
		}
		if merged = append(merged, l.rest...); !slices.Equal(merged, words) || len(options) > 0 || len(l.at) != len(l.operands) || !slices.IsSorted(l.at) {
			t.Fatalf("%q became %q, %q and %q", words, l.flagWords(), l.operands, l.rest)
		}
		if i := slices.Index(words, "--"); i < 0 && l.rest != nil || i >= 0 && !slices.Equal(l.rest, words[i:]) {
			t.Fatalf("%q: rest %q", words, l.rest)
		}
		if l.pending != nil {
			return
		}
		again := parseLine(flags, slices.Concat(l.flagWords(), l.operands, l.rest))
		if !slices.Equal(again.flagWords(), l.flagWords()) || !slices.Equal(again.operands, l.operands) || !slices.Equal(again.rest, l.rest) {
			t.Fatalf("%q: %q, %q and %q became %q, %q and %q", words, l.flagWords(), l.operands, l.rest, again.flagWords(), again.operands, again.rest)
		}
		set := flagSet(t, flags)
		if err := set.Parse(slices.Concat(l.flagWords(), []string{"--"}, l.operands)); err == nil && !slices.Equal(set.Args(), l.operands) {
			t.Fatalf("%q: operands %q, for package flag %q", words, l.operands, set.Args())
		}
	})
}
