package commands

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/wstun/wstun/commands/monitor"
	"github.com/wstun/wstun/commands/terminal"
	"github.com/wstun/wstun/commands/tracing"
	"github.com/wstun/wstun/tunnel/escape"
)

// The most lines that statusText prints for a process, of each kind.
const (
	shownSessions = 20
	shownCalls    = 20
	shownEnded    = 3
)

// statusText returns the states of processes for people.
func statusText(states []*monitor.Status, colors terminal.Colors) string {
	var b strings.Builder
	for i, st := range states {
		if i > 0 {
			b.WriteByte('\n')
		}
		processText(&b, st, colors)
	}
	return b.String()
}

func processText(b *strings.Builder, st *monitor.Status, colors terminal.Colors) {
	c := terminal.Yellow
	if st.Ready {
		c = terminal.Green
	}
	fmt.Fprintf(b, "wstun %s, process %d, up %s: %s", escape.Line(st.Command), st.PID, age(st.Now, st.Started), colors.Paint(c, escape.Line(st.State)))
	if st.Retry != nil {
		fmt.Fprintf(b, ", dials again in %s: %s", short(max(0, st.Retry.At.Sub(st.Now))), escape.Line(st.Retry.Reason))
	}
	b.WriteByte('\n')
	if len(st.Addresses) > 0 || st.Target != "" {
		arrow := " → "
		if terminal.ASCII() {
			arrow = " -> "
		}
		text := strings.Join(st.Addresses, ", ")
		if st.Target != "" {
			text = strings.TrimPrefix(text+arrow+st.Target, arrow)
		}
		fmt.Fprintf(b, "  %s\n", escape.Line(text))
	}
	for _, u := range st.Upstreams {
		if !u.Up {
			fmt.Fprintf(b, "  upstream %s is down: %s\n", escape.Line(u.Address), escape.Line(u.Reason))
		}
	}
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	sessionsTable(t, st)
	callsTable(t, st)
	_ = t.Flush()
	if len(st.Sessions)+len(st.Calls) > 0 && len(st.Ended)+len(st.RPCs) > 0 {
		b.WriteByte('\n')
	}
	for _, s := range st.Ended[max(0, len(st.Ended)-shownEnded):] {
		fmt.Fprintf(b, "  session %d ended %s ago, after %s: %s\n", s.ID, age(st.Now, *s.Ended), short(s.Ended.Sub(s.Since)), escape.Line(s.Reason))
	}
	if len(st.RPCs) > 0 {
		var counts []string
		for _, code := range st.Codes() {
			counts = append(counts, fmt.Sprintf("%d %s", st.RPCs[code], escape.Line(code)))
		}
		fmt.Fprintf(b, "  calls so far: %s\n", strings.Join(counts, ", "))
	}
}

func sessionsTable(t *tabwriter.Writer, st *monitor.Status) {
	if len(st.Sessions) == 0 {
		return
	}
	fmt.Fprintln(t, "\n  SESSION\tSTATE\tUP FOR\tROUND TRIP\tSTREAMS\tCALLS\tIN\tOUT\tREMOTE")
	for i, s := range st.Sessions {
		if i == shownSessions {
			fmt.Fprintf(t, "  … and %d more\n", len(st.Sessions)-i)
			break
		}
		rtt := "-"
		if s.RoundTrip > 0 {
			rtt = short(time.Duration(s.RoundTrip * float64(time.Millisecond)))
		}
		fmt.Fprintf(t, "  %d\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\n", s.ID, cell(s.State), age(st.Now, s.Since), rtt, s.Streams, s.Open,
			tracing.Size(s.Bytes.In), tracing.Size(s.Bytes.Out), cell(s.Remote))
	}
}

func callsTable(t *tabwriter.Writer, st *monitor.Status) {
	if len(st.Calls) == 0 {
		return
	}
	fmt.Fprintln(t, "\n  OPEN CALL\tFOR\tSENT\tRECEIVED\tLAST MESSAGE\tSESSION\tCLIENT")
	for i, c := range st.Calls {
		if i == shownCalls {
			fmt.Fprintf(t, "  … and %d more\n", st.Open-i)
			break
		}
		last, session, peer := "-", "-", "-"
		if c.Last != nil {
			last = age(st.Now, *c.Last) + " ago"
		}
		if c.Session > 0 {
			session = fmt.Sprint(c.Session)
		}
		if c.Peer != "" {
			peer = cell(c.Peer)
		}
		fmt.Fprintf(t, "  %s\t%s\t%d\t%d\t%s\t%s\t%s\n", cell(strings.TrimPrefix(c.Method, "/")), age(st.Now, c.Begun), c.Sent, c.Received, last, session, peer)
	}
}

// cell returns text, which may be a peer's, for a cell of a table.
func cell(text string) string {
	const longest = 100
	text = strings.ReplaceAll(escape.Line(text), "\t", " ")
	if chars := []rune(text); len(chars) > longest {
		text = string(chars[:longest]) + "…"
	}
	return text
}

// age returns how long ago a time was.
func age(now, then time.Time) string { return short(max(0, now.Sub(then))) }

// short returns a duration with its two largest units, such as 2h5m, or in milliseconds.
func short(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 10*time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return withoutZeros(d.Round(time.Second))
	case d < day:
		return withoutZeros(d.Round(time.Minute))
	}
	return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
}

// withoutZeros returns d without its smallest units that are 0.
func withoutZeros(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}
