package tracing

import (
	"strconv"
	"time"
	"unicode/utf8"

	"golang.org/x/text/width"

	"github.com/wstun/wstun/commands/terminal"
)

// columns returns how many columns of a terminal a character takes.
func columns(c rune) int {
	if c >= utf8.RuneSelf {
		if kind := width.LookupRune(c).Kind(); kind == width.EastAsianWide || kind == width.EastAsianFullwidth {
			return 2
		}
	}
	return 1
}

// length returns how many columns s takes, without colors.
func length(s string) (n int) {
	for _, c := range terminal.Strip(s) {
		n += columns(c)
	}
	return n
}

// pad appends n spaces.
func pad(b []byte, n int) []byte {
	for ; n > 0; n-- {
		b = append(b, ' ')
	}
	return b
}

// Size returns a size in bytes such as 12.5 KiB.
func Size(n int64) string {
	switch {
	case n < 1<<10:
		return strconv.FormatInt(n, 10) + " B"
	case n < 1<<20:
		return strconv.FormatFloat(float64(n)/(1<<10), 'f', 1, 64) + " KiB"
	case n < 1<<30:
		return strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64) + " MiB"
	}
	return strconv.FormatFloat(float64(n)/(1<<30), 'f', 1, 64) + " GiB"
}

// duration returns a duration such as 0.4 ms or 29.8 s.
func duration(d time.Duration) string {
	switch {
	case d < time.Second:
		return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 1, 64) + " ms"
	case d < 2*time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	}
	return d.Round(time.Second).String()
}
