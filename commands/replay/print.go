package replay

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/tunnel/escape"
)

const (
	// shownValue and shownRequest are how much of a value and of a request is printed,
	// in bytes.
	shownValue   = 60
	shownRequest = 100

	// shownReasons is how many reasons for skipping calls are printed.
	shownReasons = 5
)

// Printer prints results, as text or one JSON object a line.
type Printer struct {
	Out     io.Writer
	JSON    bool
	Verbose bool // also the calls that are the same or skipped; JSON has all calls

	short map[string]string // the names of methods
}

// NewPrinter returns a Printer for the results of calls. Text has methods as Service/Method,
// unless two services have the same name.
func NewPrinter(out io.Writer, calls []*recording.Call) *Printer {
	p := &Printer{Out: out, short: map[string]string{}}
	taken := map[string]string{} // the methods, by their short names
	for _, c := range calls {
		full := strings.TrimPrefix(c.Method(), "/")
		service, name, ok := strings.Cut(full, "/")
		short := service[strings.LastIndexByte(service, '.')+1:] + "/" + name
		if other := taken[short]; !ok || other != "" && other != full {
			short = full
		}
		taken[short], p.short[c.Method()] = full, short
	}
	return p
}

// Result prints a result.
func (p *Printer) Result(r *Result) {
	if p.JSON {
		p.json(newJSONResult(r))
		return
	}
	name := fmt.Sprintf("#%d %s", r.Number, escape.Line(cmp.Or(p.short[r.Method], r.Method)))
	if r.Request != "" {
		name += "  " + escape.Text(part(r.Request, 0, shownRequest))
	}
	switch {
	case r.Verdict == Same && p.Verbose:
		fmt.Fprintf(p.Out, "ok   %s  %s (was %s)\n", name, milliseconds(r.Took), milliseconds(r.Recorded))
	case r.Verdict == Skipped && p.Verbose:
		fmt.Fprintf(p.Out, "skip %s  %s\n", name, escape.Line(r.Reason))
	case r.Verdict == Failed:
		fmt.Fprintf(p.Out, "FAIL %s\n     %s\n", name, escape.Line(r.Reason))
	case r.Verdict == Differs:
		fmt.Fprintf(p.Out, "DIFF %s\n", name)
		p.differences(r)
	}
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", recording.ToMilliseconds(d))
}

// differences prints the differences of a result in columns.
func (p *Printer) differences(r *Result) {
	var rows [][3]string
	var width [2]int
	for _, d := range r.Differences {
		path := escape.Line(d.Path)
		if d.Response > 0 {
			path = fmt.Sprintf("response %d: %s", d.Response, path)
		}
		recorded, replayed := shorten(d.shown(d.Recorded), d.shown(d.Replayed), shownValue)
		if d.More > 0 {
			replayed += fmt.Sprintf("   (and %d more)", d.More)
		}
		row := [3]string{path, escape.Text(recorded), escape.Text(replayed)}
		for i := range width {
			width[i] = max(width[i], min(len([]rune(row[i])), shownValue))
		}
		rows = append(rows, row)
	}
	for _, row := range rows {
		fmt.Fprintf(p.Out, "     %-*s   - %-*s   + %s\n", width[0], row[0], width[1], row[1], row[2])
	}
	if r.More {
		fmt.Fprintln(p.Out, "     and more")
	}
}

// shown returns a value as it is shown to people.
func (d *Difference) shown(value string) string {
	if value == "" {
		return "none"
	}
	if d.place.special {
		var text string
		if json.Unmarshal([]byte(value), &text) == nil {
			return escape.Line(text)
		}
	}
	return value
}

// Summary prints a summary.
func (p *Printer) Summary(s *Summary) {
	if p.JSON {
		p.json(&jsonSummary{"summary", s.Calls, s.Same, s.Differ, s.Failed, s.Skipped, s.NotMade, s.Ignore})
		return
	}
	var parts []string
	add := func(n int, one, many string) {
		if n == 1 {
			many = one
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, many))
		}
	}
	add(s.Same, "same", "same")
	add(s.Differ, "differs", "differ")
	add(s.Failed, "failed", "failed")
	add(s.NotMade, "not made", "not made")
	add(s.Skipped, "skipped ("+s.reasons()+")", "skipped ("+s.reasons()+")")
	calls := "calls"
	if s.Calls == 1 {
		calls = "call"
	}
	fmt.Fprintf(p.Out, "%d %s: %s\n", s.Calls, calls, strings.Join(parts, ", "))
}

// reasons returns why calls were skipped, the most frequent reasons first.
func (s *Summary) reasons() string {
	all := slices.SortedFunc(maps.Keys(s.Reasons), func(a, b string) int {
		return cmp.Or(cmp.Compare(s.Reasons[b], s.Reasons[a]), strings.Compare(a, b))
	})
	var texts []string
	for _, reason := range all[:min(len(all), shownReasons)] {
		text := escape.Line(reason)
		if len(all) > 1 {
			text = fmt.Sprintf("%d: %s", s.Reasons[reason], text)
		}
		texts = append(texts, text)
	}
	if len(all) > shownReasons {
		texts = append(texts, "…")
	}
	return strings.Join(texts, "; ")
}

// jsonResult is a Result in JSON.
type jsonResult struct {
	Event       string           `json:"event"` // "replay"
	Call        uint64           `json:"call"`
	Method      string           `json:"method"`
	Result      Verdict          `json:"result"`
	Reason      string           `json:"reason,omitempty"`
	Differences []jsonDifference `json:"differences,omitempty"`
	More        bool             `json:"more,omitempty"` // differences
	Took        float64          `json:"ms,omitempty"`
	Recorded    float64          `json:"recorded_ms,omitempty"`
}

type jsonDifference struct {
	Path     string          `json:"path"`
	Response int             `json:"response,omitempty"`
	Recorded json.RawMessage `json:"recorded,omitempty"`
	Replayed json.RawMessage `json:"replayed,omitempty"`
	More     int             `json:"more,omitempty"` // at the same place
}

type jsonSummary struct {
	Event   string   `json:"event"` // "summary"
	Calls   int      `json:"calls"`
	Same    int      `json:"same"`
	Differ  int      `json:"differs"`
	Failed  int      `json:"failed"`
	Skipped int      `json:"skipped"`
	NotMade int      `json:"not_made"`
	Ignore  []string `json:"ignore,omitempty"`
}

func newJSONResult(r *Result) *jsonResult {
	o := &jsonResult{
		Event: "replay", Call: r.Number, Method: strings.TrimPrefix(r.Method, "/"), Result: r.Verdict, Reason: r.Reason, More: r.More,
		Took: float64(recording.ToMilliseconds(r.Took)), Recorded: float64(recording.ToMilliseconds(r.Recorded)),
	}
	for _, d := range r.Differences {
		o.Differences = append(o.Differences, jsonDifference{d.Path, d.Response, rawJSON(d.Recorded), rawJSON(d.Replayed), d.More})
	}
	return o
}

// rawJSON returns a value in JSON, as a string if it isn't JSON.
func rawJSON(value string) json.RawMessage {
	if value != "" && !json.Valid([]byte(value)) {
		value = quote(value)
	}
	return json.RawMessage(value)
}

func (p *Printer) json(v any) {
	line, err := json.Marshal(v)
	if err != nil { // impossible: the values are valid
		line = []byte(quote(err.Error()))
	}
	_, _ = io.WriteString(p.Out, escape.Text(string(line))+"\n")
}
