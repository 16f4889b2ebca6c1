package usage

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

// units are the units of sizes, the largest first.
var units = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

var errSize = errors.New("want a size such as 4MiB, 512KiB or 1048576")

// ParseSize parses a size such as 4MiB, 512KiB or 1048576 and returns it in bytes.
func ParseSize(s string) (int64, error) {
	number, unit := s, int64(1)
	for _, u := range units {
		if n, ok := strings.CutSuffix(s, u.name); ok {
			number, unit = n, u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil || int64(n) > math.MaxInt64/unit {
		return 0, errSize
	}
	return int64(n) * unit, nil
}

// FormatSize is the inverse of ParseSize.
func FormatSize(n int64) string {
	for _, u := range units {
		if n != 0 && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// Size returns a flag with a size in bytes as its value.
func Size(p *int64, name, text string, value int64) cli.Flag {
	*p = value
	return &cli.GenericFlag{
		Name: name, Usage: text, EnvVars: env(name), Value: (*size)(p), DefaultText: FormatSize(value),
	}
}

// size is the value of a Size flag.
type size int64

func (s *size) Set(text string) error {
	n, err := ParseSize(text)
	if err == nil {
		*s = size(n)
	}
	return err
}

func (s *size) String() string { return FormatSize(int64(*s)) }
