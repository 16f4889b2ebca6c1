//go:build linux || darwin

package e2e

import (
	"cmp"
	"encoding/xml"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/creack/pty"
)

// update is for go test ./commands/e2e -run Picture -update.
var update = flag.Bool("update", false, "write the README's picture again")

// The size of the terminal in the picture, and of its characters in pixels.
const (
	pictureColumns = 118
	charWidth      = 7
	lineHeight     = 19
	margin         = 14
)

// themes have the colors of the picture: those of a page of GitHub, light and dark.
var themes = map[string]struct{ background, border, text, dim, green, yellow, red string }{
	"light": {"#f6f8fa", "#d1d9e0", "#1f2328", "#59636e", "#1a7f37", "#9a6700", "#cf222e"},
	"dark":  {"#151b23", "#3d444d", "#f0f6fc", "#9198a1", "#3fb950", "#d29922", "#f85149"},
}

// TestPicture runs the session of the README's picture, and compares it with the picture
// but for times. With -update it writes the picture again.
func TestPicture(t *testing.T) {
	skipWithRace(t)
	t.Parallel()
	screen := pictureSession(t)
	for name := range themes {
		path, got := ".github/session-"+name+".svg", picture(screen, name)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := withoutTimes(got), withoutTimes(string(want)); !slices.Equal(got, want) {
			t.Errorf("%s is out of date: go test ./commands/e2e -run Picture -update writes it again\n%s\nwant\n%s", path, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// pictureSession returns the screen of a tap between a Worker and the demo Hub: a Watch,
// a call that succeeds, one that fails, and the loss of the session.
func pictureSession(t *testing.T) string {
	t.Helper()
	hub := startDaemon(t, "wstun", "serve").find(t, `^(ws://.*)$`)
	tap := startInTerminal(t, inUTF8, "tap", "--color", "always", "--trace-messages", hub)
	if err := pty.Setsize(tap.user, &pty.Winsize{Rows: 24, Cols: pictureColumns}); err != nil {
		t.Fatal(err)
	}
	url := strings.TrimSpace(tap.match(`^ws://\S+\s`))
	worker := startDaemon(t, "wstun", "dial", url)
	addr := worker.find(t, `^(127\.0\.0\.1:\d+)$`)
	startDaemon(t, "wstun", "call", addr, "WatchKeys").find(t, "snapshot")
	tap.await("snapshot")
	runCommand(t, `wstun call `+addr+` CreateKey '{"name":"eu-1"}'`)
	tap.await(`(?s)OK.*"created"|"created".*OK`)
	runCommand(t, `wstun call `+addr+` CreateKey '{"name":"eu-1"}' 2>/dev/null || true`)
	tap.await("ERR")
	worker.kill()
	tap.await(`(?s)CUT.*session down|session down.*CUT`)
	replaced := strings.NewReplacer("\r", "", strings.TrimPrefix(url, "ws://"), "127.0.0.1:7070/", strings.TrimPrefix(hub, "ws://"), "hub.example/")
	screen := regexp.MustCompile(`127\.0\.0\.1:(\d{5})`).ReplaceAllString(replaced.Replace(tap.screen.String()), "127.0.0.1:40404")
	return "$ wstun tap --trace-messages ws://hub.example/\n" + strings.TrimRight(screen, "\n")
}

// withoutTimes returns the lines of text in a picture, without numbers and in any order:
// a message of the Watch may overtake the response to the call. The kernel resets the connection
// of a killed process that has unread data, and closes it otherwise.
func withoutTimes(svg string) []string {
	svg = regexp.MustCompile(`(the dialing side) (closed|reset) the c[^<]*`).ReplaceAllString(svg, "$1 …")
	svg = regexp.MustCompile(` (x|y|textLength|width|height|viewBox)="[^"]*"`).ReplaceAllString(svg, "")
	svg = regexp.MustCompile(`[\d.]+( (µs|ms|s)\b)?`).ReplaceAllString(svg, "0")
	lines := strings.Split(regexp.MustCompile(` +`).ReplaceAllString(svg, " "), "\n")
	slices.Sort(lines)
	return lines
}

// picture returns a screen with colors as an SVG.
func picture(screen, theme string) string {
	c := themes[theme]
	colors := map[string]string{"31": c.red, "32": c.green, "33": c.yellow, "2": c.dim, "90": c.dim}
	lines := strings.Split(screen, "\n")
	width, height := pictureColumns*charWidth+2*margin, len(lines)*lineHeight+2*margin
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="12" fill="%s">`+"\n", width, height, c.text)
	fmt.Fprintf(&b, `<rect x="0.5" y="0.5" width="%d" height="%d" rx="6" fill="%s" stroke="%s"/>`+"\n", width-1, height-1, c.background, c.border)
	for i, line := range lines {
		y := margin + i*lineHeight + lineHeight*3/4
		column, color := 0, ""
		for _, part := range regexp.MustCompile(`\x1b\[(\d*)m|[^\x1b]+`).FindAllStringSubmatch(line, -1) {
			if strings.HasPrefix(part[0], "\x1b") {
				color = colors[part[1]]
				continue
			}
			// Each word has a place of its own, so that the columns don't depend on the font.
			for _, word := range regexp.MustCompile(` *[^ ]+( [^ ]+)*`).FindAllString(part[0], -1) {
				text := strings.TrimLeft(word, " ")
				column += len(word) - len(text)
				n := utf8.RuneCountInString(text)
				fmt.Fprintf(&b, `<text x="%d" y="%d" textLength="%d" fill="%s">`, margin+column*charWidth, y, n*charWidth, cmp.Or(color, c.text))
				_ = xml.EscapeText(&b, []byte(text))
				b.WriteString("</text>")
				column += n
			}
			column += len(part[0]) - len(strings.TrimRight(part[0], " "))
		}
		b.WriteString("\n")
	}
	b.WriteString("</svg>\n")
	return b.String()
}
