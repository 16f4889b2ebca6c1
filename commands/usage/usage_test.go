package usage

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
)

func TestFlags(t *testing.T) {
	t.Setenv("WSTUN_MANY", "from the environment")
	var (
		text, path string
		on         bool
		number     int
		d          time.Duration
		many, few  []string
	)
	flags := []cli.Flag{
		String(&text, "text", "a `TEXT`", "default", "t"),
		Path(&path, "path", "a `PATH`"),
		Bool(&on, "on", "on"),
		Int(&number, "number", "a `N`", 7),
		Duration(&d, "duration", "a `DURATION`", time.Second),
		Strings(&many, "many", "many `TEXTS`"),
		Strings(&few, "few", "few `TEXTS`", "f"),
	}
	app := &cli.App{Flags: flags, DisableSliceFlagSeparator: true, Action: func(*cli.Context) error { Store(flags); return nil }}
	if err := app.Run([]string{"app", "-t", "x", "--on", "-f", "a, b", "-f", "c"}); err != nil {
		t.Fatal(err)
	}
	if text != "x" || path != "" || !on || number != 7 || d != time.Second {
		t.Errorf("%q, %q, %v, %d, %v", text, path, on, number, d)
	}
	if !slices.Equal(few, []string{"a, b", "c"}) || !slices.Equal(many, []string{"from the environment"}) {
		t.Errorf("few %q, many %q", few, many)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	given := Given{"typed": true, "variable": false}
	for _, test := range []struct {
		err  error
		want string // "": no error
	}{
		{given.Reject("dialing", "other", "variable"), ""},
		{given.Reject("dialing", "variable", "typed"), "--typed is for dialing"},
		{NotNegative("wait", 0), ""},
		{NotNegative("wait", -time.Second), "--wait -1s: want 0 or more"},
		{OneOf("format", "json", "json", "text"), ""},
		{OneOf("level", "x", "a", "b", "c"), `--level "x": want a, b or c`},
	} {
		if test.want == "" {
			if test.err != nil {
				t.Errorf("%v, want no error", test.err)
			}
			continue
		}
		if ue, ok := errors.AsType[*Error](test.err); !ok || ue.Error() != test.want {
			t.Errorf("%v, want %q", test.err, test.want)
		}
	}
	if !given.Set("variable") || given.Set("other") {
		t.Error("Set confuses flags")
	}
}
