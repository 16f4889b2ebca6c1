package shell

import (
	"context"
	"fmt"
	"strings"
)

func (s *Shell) help(ctx context.Context, rest string) error {
	var b strings.Builder
	for _, c := range commands() {
		if rest != "" && rest != c.name && rest != c.alias {
			continue
		}
		head := c.name
		if c.alias != "" {
			head += ", " + c.alias
		}
		head += " " + c.args
		for line := range strings.SplitSeq(c.help, "\n") {
			fmt.Fprintf(&b, "%-28s %s\n", head, line)
			head = ""
		}
	}
	if b.Len() == 0 {
		return usagef("help lists the commands", "unknown command %q", rest)
	}
	if rest == "" || rest == "call" {
		b.WriteString(streamHelp + textHelp)
	}
	return s.print(ctx, strings.TrimRight(b.String(), "\n"))
}

const streamHelp = `
Inside a call each line is sent at once as a JSON message, except for
.send JSON                   send a message
.desc [SYMBOL…]              describe the messages to send, or other symbols
.close                       end the messages; Ctrl-D does the same
.cancel                      cancel the call; Ctrl-C does the same
.help                        print this
`

const textHelp = `
Names may be short, as in call Echo. JSON may have several lines, up to its last brace.
In headers, and in JSON outside its strings, $.field stands for a field of the last
response, and $.list[0].field for one in a list. In JSON, $ is the whole response.
A line that ends with a backslash continues in the next one. A line that begins with #
is a comment.
`
