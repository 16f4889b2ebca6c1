package commands

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// groups has the groups of flags in the help and the reference, each flag in the order of
// the help. COMMAND/FLAG overrides FLAG for one command.
var groups = []struct {
	name  string
	flags string // often used
	rare  string // only in --help --all
}{
	{
		"Calls",
		"upstream stub data rpc-header count max-time retry msg-template command errexit replay/filter ignore unordered speed proto import-path protoset once relay",
		"repeat raw no-stub-delays no-reflection upstream-authority format allow-unknown-fields compare-metadata timeout reflect-header use-reflection authority user-agent",
	},
	{
		"Session",
		"header name to accept path listen wait hold limit proxy target config/config",
		"takeover config unix subprotocol origin yamux-role keep-extensions",
	},
	{
		"Several relays",
		"directory advertise id trusted-proxy",
		"directory-creds directory-cacert directory-cert directory-key hop-cacert client-cacert",
	},
	{
		"TLS and credentials",
		"policy token-file token-header tls upstream-tls cert key cacert target-cacert insecure",
		"plaintext servername expand-headers allow-unauthenticated " +
			"upstream-cacert upstream-cert upstream-key upstream-servername upstream-insecure " +
			"target-cert target-key target-servername target-insecure",
	},
	{
		"Output",
		"output audit emit-defaults timestamps verbose proto-out-dir protoset-out ready-file log-level",
		"very-verbose compact pretty proto-names format-error history log-format color",
	},
	{
		"Trace and recording",
		"trace trace-messages follow filter record dial/proto dial/import-path dial/protoset tap/proto tap/import-path tap/protoset",
		"trace-full redact record-format record-max record-keep record-secrets",
	},
	{
		"Running processes",
		"attach watch until-ready reconnect open page admin admin-messages admin-calls admin-host control",
		"admin-memory admin-token-file admin-cert admin-key admin-cacert admin-allow-unauthenticated",
	},
	{
		"Tuning",
		"connect-timeout ready-timeout drain-timeout drain-pace max-retries",
		"max-retry-interval ping-interval ping-timeout max-sessions max-msg-sz max-session-memory max-memory max-headers max-session-headers " +
			"window max-ws-message",
	},
}

// flagGroup is a group with the flags of one command.
type flagGroup struct {
	name        string
	flags, rare []cli.Flag
}

// groupFlags returns the groups that have flags of a command. Flags in none of groups are
// in one of their own, at the end.
func groupFlags(cmd *cli.Command) (list []flagGroup) {
	entries := map[string]string{} // in groups, of the flags
	for _, g := range groups {
		for entry := range strings.FieldsSeq(g.flags + " " + g.rare) {
			name, overrides := strings.CutPrefix(entry, cmd.Name+"/")
			if overrides || entries[name] == "" {
				entries[name] = entry
			}
		}
	}
	rest := slices.DeleteFunc(slices.Clone(cmd.Flags), isHelpFlag)
	take := func(text string) (flags []cli.Flag) {
		for entry := range strings.FieldsSeq(text) {
			name := strings.TrimPrefix(entry, cmd.Name+"/")
			if i := slices.IndexFunc(rest, func(f cli.Flag) bool { return f.Names()[0] == name }); i >= 0 && entries[name] == entry {
				flags = append(flags, rest[i])
				rest = slices.Delete(rest, i, i+1)
			}
		}
		return flags
	}
	for _, g := range groups {
		if flags, rare := take(g.flags), take(g.rare); len(flags)+len(rare) > 0 {
			list = append(list, flagGroup{g.name, flags, rare})
		}
	}
	if len(rest) > 0 {
		list = append(list, flagGroup{"Other", rest, nil})
	}
	return list
}
