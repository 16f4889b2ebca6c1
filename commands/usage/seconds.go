package usage

import (
	"errors"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"
)

var errSeconds = errors.New("want seconds, or a duration such as 1m30s")

// ParseSeconds parses a duration, or a number of seconds.
func ParseSeconds(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	const most = 1e9
	if seconds, ferr := strconv.ParseFloat(s, 64); ferr == nil && -most < seconds && seconds < most {
		d, err = time.Duration(seconds*float64(time.Second)), nil
	}
	if err != nil {
		return 0, errSeconds
	}
	return d, nil
}

// Seconds returns a flag with a duration as its value, which may be a number of seconds, as
// for grpcurl.
func Seconds(p *time.Duration, name, text string, value time.Duration) cli.Flag {
	*p = value
	return &cli.GenericFlag{Name: name, Usage: text, EnvVars: env(name), Value: (*seconds)(p)}
}

// seconds is the value of a Seconds flag.
type seconds time.Duration

func (s *seconds) Set(text string) error {
	d, err := ParseSeconds(text)
	if err == nil {
		*s = seconds(d)
	}
	return err
}

func (s *seconds) String() string { return time.Duration(*s).String() }
