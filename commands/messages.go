package commands

import (
	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/commands/message"
	"github.com/wstun/wstun/commands/usage"
)

// messageOptions are the values of the flags for requests and responses.
type messageOptions struct {
	allowUnknownFields, emitDefaults, protoNames, compact, pretty, timestamps bool
	maxMsgSize                                                                int
	given                                                                     usage.Given
}

func (o *messageOptions) flags() []cli.Flag {
	return []cli.Flag{
		usage.Bool(&o.allowUnknownFields, "allow-unknown-fields", "ignore fields of requests that their message doesn't have"),
		usage.Bool(&o.emitDefaults, "emit-defaults", "print fields that are not set, too"),
		usage.Bool(&o.protoNames, "proto-names", "print field names as in the .proto file, not as in JSON"),
		usage.Bool(&o.compact, "compact", "print each response on one line, on a terminal, too"),
		usage.Bool(&o.pretty, "pretty", "print responses with line breaks, to files and pipes, too"),
		usage.Bool(&o.timestamps, "timestamps", "print the time at which each response arrived before it"),
		usage.Int(&o.maxMsgSize, "max-msg-sz", "accept responses of at most `BYTES`", call.DefaultMaxMsgSize),
	}
}

func (o *messageOptions) parse(in *invocation) error {
	o.given = in.given
	if in.given["pretty"] && in.given["compact"] {
		return usage.Errorf("both --pretty and --compact")
	}
	if o.maxMsgSize < 0 {
		return usage.Errorf("--max-msg-sz %d: want 0 or more", o.maxMsgSize)
	}
	return nil
}

// onOneLine reports whether responses are printed on one line. Flags on the command
// line override those set by variables.
func (o *messageOptions) onOneLine(p *program, encoding message.Encoding) bool {
	pretty := o.pretty && !o.given["compact"]
	return o.compact && !o.given["pretty"] || encoding == message.JSON && !pretty && !isTerminal(p.stdout)
}
