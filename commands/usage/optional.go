package usage

import (
	"errors"
	"time"

	"github.com/urfave/cli/v2"
)

// OptionalDuration is the value of a flag that may be given without one.
type OptionalDuration struct {
	Given bool
	Value time.Duration

	standard time.Duration // without a value
}

// OptionalDurationFlag returns a flag with a duration as its value, which may only follow "=".
// Without one, it is standard.
func OptionalDurationFlag(d *OptionalDuration, name, text string, standard time.Duration) cli.Flag {
	d.standard = standard
	return OptionalFlag{&cli.GenericFlag{Name: name, Usage: text, Value: d}}
}

// OptionalFlag is a flag that takes no value from the next argument.
type OptionalFlag struct{ *cli.GenericFlag }

// TakesValue implements cli.DocGenerationFlag.
func (OptionalFlag) TakesValue() bool { return false }

// Set implements cli.Generic.
func (d *OptionalDuration) Set(text string) (err error) {
	d.Given, d.Value = true, d.standard
	if text == "true" { // as package flag calls it without a value
		return nil
	}
	if d.Value, err = time.ParseDuration(text); err != nil || d.Value <= 0 {
		return errors.New(WantDuration)
	}
	return nil
}

func (d *OptionalDuration) String() string {
	if d == nil || !d.Given {
		return ""
	}
	return d.Value.String()
}

// IsBoolFlag tells package flag that the flag may have no value.
func (*OptionalDuration) IsBoolFlag() bool { return true }
