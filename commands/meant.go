package commands

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/target"
	"github.com/wstun/wstun/commands/usage"
)

// The functions here guess the command line that was meant by one with a mistake.

// didYouMean returns advice to use a command with words, and COMMAND as it is given.
func (p *program) didYouMean(cmd *cli.Command, words ...string) string {
	if p.hasCommand {
		words = slices.Concat(words, []string{"--"}, p.command)
	}
	return "did you mean: " + shellLine(cmd, words...)
}

// isData reports whether an argument is a message in JSON: an object, or a text. Other JSON
// looks like a name or an address.
func isData(word string) bool {
	return strings.HasPrefix(word, "{") || strings.HasPrefix(word, `"`)
}

// rank returns the place of an argument after a TARGET: names are before data.
func rank(word string) int {
	if isData(word) {
		return 1
	}
	return 0
}

// withScheme returns the URL that an address without a scheme stands for; "" if it isn't
// the address of a host. Only this machine's are likely to be without TLS.
func withScheme(address string) string {
	host, path, _ := strings.Cut(address, "/")
	switch name := hostOf(host); {
	case host == "", strings.HasPrefix(address, "unix:"), strings.HasPrefix(address, "unix-abstract:"), strings.Contains(address, "@"):
		return ""
	case name == "":
		return "ws://127.0.0.1:" + strings.TrimPrefix(host, ":") + "/" + path
	case isLocal(name):
		return "ws://" + host + "/" + path
	case isHostName(name), strings.HasPrefix(host, "["):
		return "wss://" + host + "/" + path
	}
	return ""
}

// hostOf returns the host of host:port; "" if there is only a port.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	if isPort(address) {
		return ""
	}
	return strings.Trim(address, "[]")
}

func isPort(word string) bool {
	_, err := strconv.ParseUint(word, 10, 16)
	return err == nil
}

// isLocal reports whether host is this machine, or all of its addresses.
func isLocal(host string) bool {
	ip, _ := netip.ParseAddr(host)
	return host == "localhost" || ip.IsLoopback() || ip.IsUnspecified()
}

// isHostName reports whether name is a domain name, and not that of a symbol, whose last
// part begins in upper case, or of a file.
func isHostName(name string) bool {
	return strings.Contains(name, ".") && !strings.HasPrefix(name, ".") && strings.ToLower(name) == name && !strings.ContainsAny(name, `\ {}"`)
}

// meantTarget returns the operands of a command with a TARGET, which may be optional, that
// were probably meant; nil if these may be right, or if there is no guess.
func meantTarget(operands []string, optional bool) []string {
	i := slices.IndexFunc(operands, func(word string) bool { return target.IsTarget(word) && !isData(word) })
	if i > 0 { // swapped
		others := slices.Concat(operands[:i], operands[i+1:])
		slices.SortStableFunc(others, func(a, b string) int { return cmp.Compare(rank(a), rank(b)) })
		return slices.Concat(operands[i:i+1], others)
	}
	first := operands[0]
	switch {
	case isSocket(first):
		first = "unix:" + first
	case target.IsURL(first), i == 0 && !strings.Contains(first, "/"), i < 0 && optional:
		return nil
	case !strings.Contains(first, "/") && (isPort(first) || isLocal(first)): // a plain server
		first = plainAddr(first)
	default:
		first = withScheme(first)
	}
	if first == "" {
		return nil
	}
	return slices.Concat([]string{first}, operands[1:])
}

// isSocket reports whether path is a unix socket.
func isSocket(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Type() == os.ModeSocket
}

// plainAddr returns the address of a gRPC server, given only its port or its host.
func plainAddr(word string) string {
	if isPort(word) {
		return ":" + word
	}
	_, port, _ := net.SplitHostPort(defaultListen)
	return net.JoinHostPort(word, port)
}

// meantURL returns the words of a command with a URL that were probably meant instead of
// its only operand; nil if it may be right, or if there is no guess.
func meantURL(cmd, operand string) []string {
	switch host := hostOf(operand); {
	case target.IsURL(operand):
		return nil
	case cmd == "serve" && !strings.Contains(operand, "/") && (host == "" || isLocal(host)):
		if isPort(operand) {
			operand = ":" + operand
		}
		return []string{"--accept", operand}
	}
	if url := withScheme(operand); url != "" {
		return []string{url}
	}
	return nil
}

// meantDial returns words, of which dial has flags, with "--" before those of a COMMAND; nil
// if there is no COMMAND.
func meantDial(flags []cli.Flag, words []string) []string {
	l := parseLine(flags, words)
	var url []string // or none
	if len(l.operands) > 0 {
		if target.IsURL(l.operands[0]) || strings.HasPrefix(l.operands[0], "@") {
			url = l.operands[:1]
		} else {
			url = meantURL("dial", l.operands[0])
		}
	}
	k := len(url)
	if len(l.operands) <= k || target.IsURL(l.operands[k]) || l.rest != nil {
		return nil
	}
	before := parseLine(flags, words[:l.at[k]])
	if !before.knows() {
		return nil
	}
	return slices.Concat(before.flagWords(), url, []string{"--"}, words[l.at[k]:])
}

// meantPort returns words with an address in place of --port, a flag that no command has;
// nil without --port, or if cmd doesn't listen.
func meantPort(cmd *cli.Command, words []string) []string {
	listen := map[string]string{"serve": "--accept", "tap": "--accept", "dial": "--listen", "demo": "--listen"}[cmd.Name]
	for i, word := range words {
		name, port, joined := strings.Cut(strings.TrimLeft(word, "-"), "=")
		if name != "port" || !strings.HasPrefix(word, "-") || listen == "" {
			continue
		}
		rest := words[i+1:]
		if !joined && len(rest) > 0 {
			port, rest = rest[0], rest[1:]
		}
		if isPort(port) {
			return slices.Concat(words[:i], []string{listen, ":" + port}, rest)
		}
	}
	return nil
}

// rejectBoolValue refuses "true" or "false" in the place of a URL or TARGET, if it follows a
// flag to which it must be joined by "=".
func (in *invocation) rejectBoolValue() error {
	if len(in.args) == 0 || in.args[0] != "true" && in.args[0] != "false" || targetIndex(in.command) != 0 {
		return nil
	}
	i := in.p.line.at[0]
	if i == 0 || isOperand(in.p.words[i-1]) {
		return nil
	}
	name := in.p.words[i-1]
	if _, ok := findFlag(in.command.Flags, flagName(name)).(*cli.BoolFlag); !ok {
		return nil
	}
	return &usage.Error{
		Err:    fmt.Errorf("%s takes no value from the next argument, %q", name, in.args[0]),
		Advice: fmt.Sprintf("did you mean %s=%s?", name, in.args[0]),
	}
}
