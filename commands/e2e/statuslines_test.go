//go:build linux || darwin

package e2e

import (
	"regexp"
	"strings"
	"testing"
)

// inUTF8 is an environment whose characters are not only ASCII.
var inUTF8 = []string{"LC_ALL=C.UTF-8"}

// On a terminal, serve and dial print a line for each event, in place of a log.
func TestStatusLines(t *testing.T) {
	t.Parallel()
	relay := startRelay(t, "")
	url := "ws://" + relay.addr + "/"
	dial := startInTerminal(t, inUTF8, "dial", "--max-retry-interval", "100ms", url)
	dial.await(`^127\.0\.0\.1:\d+\r\nwstun: reconnecting in \d+m?s: dial ` + url + `: .+\r\nwstun: hint: .+\r\n`)
	serve := startInTerminal(t, inUTF8, "serve")
	address := serve.match(`^ws://\S+`)
	serve.await(`^\r\nwstun: forwarding ` + address + ` → the demo Hub\r\n`)
	relay.setTarget(t, strings.Trim(strings.TrimPrefix(address, "ws:"), "/"))
	dial.await(`wstun: session up: ` + url + `\r\nwstun: forwarding 127\.0\.0\.1:\d+ → ` + url + `\r\n`)
	serve.await(`^wstun: session up: 127\.0\.0\.1:\d+\r\n`)
	relay.setTarget(t, "")
	serve.press(ctrlC)
	serve.await(`^\^C(\r\n)?wstun: session down: 127\.0\.0\.1:\d+: closed by this side\r\n$`)
	serve.wantExit(0)
	dial.await(`^wstun: session down: ` + url + `: websocket: close 1001 \(going away\)\r\nwstun: reconnecting in \d+m?s\r\n`) // whose reason is the same
	dial.press(ctrlC)
	dial.wantExit(0)
	for _, s := range []*ptySession{serve, dial} {
		if log := regexp.MustCompile(`level=|msg=|\x1b`).FindString(s.screen.String()); log != "" {
			t.Errorf("%q on the screen", log)
		}
	}

	// In another locale, with a log, and with the log's level.
	serve = startInTerminal(t, []string{"LC_ALL=C"}, "serve", "--upstream", "127.0.0.1:1")
	serve.await(`wstun: forwarding ws://127\.0\.0\.1:\d+/ -> 127\.0\.0\.1:1\r\n`)
	serve = startInTerminal(t, []string{"WSTUN_LOG_FORMAT=text"}, "serve")
	serve.await(`level=INFO msg=ready\r\n`)
	serve = startInTerminal(t, nil, "serve", "--log-level", "warn")
	serve.await(`^ws://\S+\r\n`)
	serve.press(ctrlC)
	serve.wantExit(0)
	if screen := serve.screen.String(); strings.Contains(screen, "wstun") {
		t.Errorf("with --log-level warn: %q", screen)
	}
}

// The terminal of COMMAND has COMMAND's output alone, and warnings.
func TestCommandAtTerminal(t *testing.T) {
	t.Parallel()
	url := strings.TrimSpace(startCommand(t, "wstun serve"))
	s := startInTerminal(t, nil, "dial", url, "--", "echo", "done")
	s.await(`done\r\n`)
	s.wantExit(0)
	if screen := s.screen.String(); screen != "done\r\n" {
		t.Errorf("screen %q", screen)
	}
	s = startInTerminal(t, nil, "dial", "--listen", "0.0.0.0:0", url, "--", "echo", "done")
	s.await(`^wstun: warning: others can reach this address, and the tunnel through it \(address 0\.0\.0\.0:\d+\)\r\ndone\r\n$`)
	s = startInTerminal(t, inUTF8, "dial", "--log-level", "info", url, "--", "echo", "done")
	s.await(`wstun: forwarding 127\.0\.0\.1:\d+ → ` + url + `\r\ndone\r\n`)
}

// Output on a terminal has colors, unless something says otherwise.
func TestColorsAtTerminal(t *testing.T) {
	t.Parallel()
	inColor := []string{"NO_COLOR=", "TERM=xterm"}
	serve := startInTerminal(t, append(inColor, inUTF8...), "serve")
	url := serve.match(`^ws://\S+`)
	serve.await(`wstun: \x1b\[32mforwarding\x1b\[0m ws`)
	for _, test := range []struct {
		args           []string
		colored, plain string
	}{
		{[]string{"check", url}, `\x1b\[32mok\x1b\[0m    tcp `, `^ok    tcp `},
		{[]string{"call", "-d", `{"text": "a"}`, url, "Echo"}, `^\{\r\n  \x1b\[34m"text"\x1b\[0m: \x1b\[32m"a"\x1b\[0m,\r\n`, `^\{\r\n  "text": "a",\r\n`},
		{[]string{"call", "-d", `{"name": "none"}`, url, "DeleteKey"}, `^\x1b\[31mERROR:\r\n  Code: NotFound\x1b\[0m\r\n`, `^ERROR:\r\n  Code: NotFound\r\n`},
		{[]string{"dial", "--max-retries", "0", "--listen", "0.0.0.0:0", "ws://127.0.0.1:1/"}, `wstun: \x1b\[33mwarning: \x1b\[0mothers can`, `wstun: warning: others can`},
	} {
		startInTerminal(t, inColor, test.args...).await(test.colored)
		startInTerminal(t, []string{"NO_COLOR=1"}, test.args...).await(test.plain)
		startInTerminal(t, []string{"NO_COLOR=", "TERM=dumb"}, test.args...).await(test.plain)
		startInTerminal(t, append([]string{"WSTUN_COLOR=never"}, inColor...), test.args...).await(test.plain)
	}

	shell := startShell(t, inColor, url)
	shell.enter(`call Echo {"text": "a"}`, `^\{\r\n  \x1b\[34m"text"\x1b\[0m: \x1b\[32m"a"\x1b\[0m,\r\n`)
	shell.enter(`call DeleteKey {"name": "none"}`, `^\x1b\[31mERROR:\r\n  Code: NotFound\x1b\[0m\r\n`)
	shell.press(ctrlD)
	shell.wantExit(0)
}
