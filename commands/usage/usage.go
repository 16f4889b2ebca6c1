// Package usage has the flags of commands and the errors of using them wrongly.
//
//	var path string
//	flag := usage.String(&path, "path", "accept only at this `PATH`", "")
//	err := usage.Errorf("--path %q: want it to begin with /", path)
package usage

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// Error is a mistake on the command line.
type Error struct {
	Err    error
	Advice string // what to do about it; may be empty
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Hint returns Advice.
func (e *Error) Hint() string { return e.Advice }

// Errorf returns an *Error without advice.
func Errorf(format string, args ...any) error { return &Error{Err: fmt.Errorf(format, args...)} }

// The ends of errors about the value of a flag, wherever that comes from.
const (
	WantBool     = "want true or false"
	WantInt      = "want a whole number"
	WantDuration = "want a duration with its unit, such as 30s or 5m"
)

// Given has an entry for each flag that is set, by name and alias. It is true for flags
// on the command line, and false for those whose value comes from an environment
// variable, which may be meant for other commands.
type Given map[string]bool

// Set reports whether a flag is set, in either way.
func (g Given) Set(name string) bool {
	_, ok := g[name]
	return ok
}

// Reject refuses flags on the command line that would have no effect.
func (g Given) Reject(purpose string, names ...string) error {
	for _, name := range names {
		if g[name] {
			return Errorf("--%s is for %s", name, purpose)
		}
	}
	return nil
}

// NotNegative checks the value of a flag.
func NotNegative(name string, d time.Duration) error {
	if d < 0 {
		return Errorf("--%s %v: want 0 or more", name, d)
	}
	return nil
}

// OneOf checks the value of a flag.
func OneOf(name, value string, values ...string) error {
	if slices.Contains(values, value) {
		return nil
	}
	last := len(values) - 1
	return Errorf("--%s %q: want %s or %s", name, value, strings.Join(values[:last], ", "), values[last])
}

// Variable returns the environment variable of a flag.
func Variable(flag string) string {
	return "WSTUN_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func env(flag string) []string { return []string{Variable(flag)} }

// String returns a flag with a text as its value.
func String(p *string, name, text, value string, aliases ...string) cli.Flag {
	return &cli.StringFlag{Name: name, Aliases: aliases, Usage: text, Value: value, EnvVars: env(name), Destination: p}
}

// Path returns a flag with the path of a file as its value.
func Path(p *string, name, text string) cli.Flag {
	return &cli.PathFlag{Name: name, Usage: text, EnvVars: env(name), Destination: p}
}

// Bool returns a flag that is on or off.
func Bool(p *bool, name, text string, aliases ...string) cli.Flag {
	return &cli.BoolFlag{Name: name, Aliases: aliases, Usage: text, EnvVars: env(name), Destination: p}
}

// Int returns a flag with a number as its value.
func Int(p *int, name, text string, value int) cli.Flag {
	return &cli.IntFlag{Name: name, Usage: text, Value: value, EnvVars: env(name), Destination: p}
}

// Duration returns a flag with a duration as its value.
func Duration(p *time.Duration, name, text string, value time.Duration) cli.Flag {
	return &cli.DurationFlag{Name: name, Usage: text, Value: value, EnvVars: env(name), Destination: p}
}

// Strings returns a flag that may be repeated. Its value is stored in p by [Store].
func Strings(p *[]string, name, text string, aliases ...string) cli.Flag {
	return &stringsFlag{
		&cli.StringSliceFlag{Name: name, Aliases: aliases, Usage: text, EnvVars: env(name), Destination: &cli.StringSlice{}}, p,
	}
}

// stringsFlag is a flag whose value is a plain slice.
type stringsFlag struct {
	*cli.StringSliceFlag
	p *[]string
}

// Store stores the values of flags made by [Strings], once the command line is parsed.
// Package cli stores those of the other flags.
func Store(flags []cli.Flag) {
	for _, f := range flags {
		if s, ok := f.(*stringsFlag); ok {
			*s.p = s.Destination.Value()
		}
	}
}
