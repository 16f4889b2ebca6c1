package commands

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/target"
)

// The functions here help users who paste command lines of grpcurl.

const noALTS = "wstun has no ALTS: use --tls, with --cacert, --cert and --key"

// grpcurlAdvice has advice for the flags of grpcurl that wstun lacks, or that not all of its
// commands have.
var grpcurlAdvice = map[string]string{
	"alts":                        noALTS,
	"alts-handshaker-service":     noALTS,
	"alts-target-service-account": noALTS,
	"keepalive-time":              "leave it out, or use --ping-interval and --ping-timeout, which are for sessions",
	"plaintext":                   "leave it out: the URL says whether there is TLS, with ws:// or wss://",
	"unix":                        "leave it out, and give the socket as unix:PATH",
}

// otherTools has the flags that stand for short ones of curl and kubectl.
var otherTools = map[string]string{"k": "insecure", "o": "output"}

// meantVerb returns the command and its words that are meant by a command line of grpcurl,
// [flags] TARGET list|describe|METHOD, without the name of a command; nil without a guess.
func meantVerb(app *cli.App, l *line) (cmd *cli.Command, words []string) {
	if len(l.operands) < 2 || !target.IsTarget(l.operands[0]) && !l.uses("unix") {
		return nil, nil
	}
	rest := l.operands[1:]
	verb := rest[0]
	if verb == "list" || verb == "describe" {
		rest = rest[1:]
	} else {
		verb = "call"
	}
	return app.Command(verb), slices.Concat(l.flagWords(), l.operands[:1], rest)
}
