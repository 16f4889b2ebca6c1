package stub

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
	_ "google.golang.org/genproto/googleapis/rpc/errdetails" // common types of details
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// rule parses a rule for the method desc. It returns nil after an error.
func (p *parser) rule(n *node, desc protoreflect.MethodDescriptor) *rule {
	before := len(p.errs)
	if !p.mapping(n, "a rule", "when", "delay", "headers", "reply", "stream", "stay_open", "error", "trailers") {
		return nil
	}
	r := &rule{
		line:     n.line,
		delay:    p.duration(n.get("delay")),
		headers:  p.metadata(n.get("headers"), "headers"),
		stayOpen: p.boolean(n.get("stay_open"), "stay_open"),
		trailers: p.metadata(n.get("trailers"), "trailers"),
	}
	if when := n.get("when"); when != nil {
		r.when = p.when(when, desc.Input())
	}
	if failure := n.get("error"); failure != nil {
		r.err = p.status(failure)
	}
	if message := n.get("reply"); message != nil {
		r.replies = []reply{{message: p.message(message, desc.Output())}}
	}
	if stream := n.get("stream"); stream != nil {
		r.replies = p.stream(stream, desc.Output())
	}
	if len(p.errs) == before {
		p.checkKind(n, r, desc)
	}
	if len(p.errs) > before {
		return nil
	}
	return r
}

// checkKind checks that r, parsed from n, is valid for the kind of its method.
func (p *parser) checkKind(n *node, r *rule, desc protoreflect.MethodDescriptor) {
	message, stream, name := n.get("reply"), n.get("stream"), desc.Name()
	one := !desc.IsStreamingServer()
	switch {
	case one && stream != nil:
		p.errorf(stream.line, "%s has one response: use reply instead of stream", name)
	case one && r.stayOpen:
		p.errorf(n.get("stay_open").line, "%s has one response and cannot stay open", name)
	case one && message != nil && r.err != nil:
		p.errorf(n.get("error").line, "%s cannot have both a reply and an error", name)
	case one && message == nil && r.err == nil:
		p.errorf(n.line, "%s needs a reply or an error", name)
	case message != nil && stream != nil:
		p.errorf(stream.line, "a rule cannot have both reply and stream")
	case r.stayOpen && r.err != nil:
		p.errorf(n.get("error").line, "a rule cannot have both stay_open and error")
	case message == nil && stream == nil && !r.stayOpen && r.err == nil:
		p.errorf(n.line, "the rule has no reply, stream or error; to send no responses, use stream: []")
	}
}

// stream parses a list of replies.
func (p *parser) stream(n *node, md protoreflect.MessageDescriptor) []reply {
	if n.kind != yaml.SequenceNode {
		p.errorf(n.line, "stream must be a list of items with delay, reply, not %s", n.describe())
		return nil
	}
	replies := make([]reply, 0, len(n.items))
	for _, item := range n.items {
		if p.full() {
			break
		}
		if !p.mapping(item, "an item of stream", "delay", "reply") {
			continue
		}
		next := reply{delay: p.duration(item.get("delay"))}
		if message := item.get("reply"); message != nil {
			next.message = p.message(message, md)
		} else if item.get("delay") == nil {
			p.errorf(item.line, "an item of stream needs a reply, a delay or both")
		}
		replies = append(replies, next)
	}
	return replies
}

// status parses an error.
func (p *parser) status(n *node) error {
	if !p.mapping(n, "error", "code", "message", "details") {
		return nil
	}
	s := &spb.Status{}
	if code := n.get("code"); code != nil {
		s.Code = int32(p.code(code)) //nolint:gosec // at most 16
	} else {
		p.errorf(n.line, "error needs a code")
	}
	if message := n.get("message"); message != nil {
		if message.kind != yaml.ScalarNode || message.isNull() {
			p.errorf(message.line, "message must be a string, not %s", message.describe())
		}
		s.Message = message.text
	}
	details := n.get("details")
	if details == nil {
		return status.ErrorProto(s)
	}
	if details.kind != yaml.SequenceNode {
		p.errorf(details.line, "details must be a list, not %s", details.describe())
		return nil
	}
	for _, item := range details.items {
		if p.full() {
			break
		}
		if detail := p.detail(item); detail != nil {
			s.Details = append(s.Details, detail)
		}
	}
	return status.ErrorProto(s)
}

// detail parses a detail of an error.
func (p *parser) detail(n *node) *anypb.Any {
	i := slices.IndexFunc(n.fields, func(f field) bool { return f.key == "@type" })
	if i < 0 {
		p.errorf(n.line, "a detail must be a mapping with @type, such as type.googleapis.com/google.rpc.ErrorInfo")
		return nil
	}
	url := n.fields[i].value
	if _, err := p.types.FindMessageByURL(url.text); err != nil {
		p.errorf(url.line, "unknown @type %s", quote(url.text))
		return nil
	}
	if !strings.Contains(url.text, "/") {
		full := *url
		full.text = "type.googleapis.com/" + url.text
		n = &node{kind: n.kind, line: n.line, fields: slices.Clone(n.fields)}
		n.fields[i].value = &full
	}
	detail := new(anypb.Any)
	if !p.unmarshal(n, detail, "detail", false) {
		return nil
	}
	return detail
}

// code parses a status code.
func (p *parser) code(n *node) codes.Code {
	i := slices.IndexFunc(codeNames, func(name string) bool { return strings.EqualFold(n.text, name) })
	if number, err := strconv.Atoi(n.text); err == nil && number >= 0 && number < len(codeNames) {
		i = number
	}
	switch {
	case n.kind != yaml.ScalarNode || n.isNull():
		p.errorf(n.line, "code must be a name such as NOT_FOUND or a number, not %s", n.describe())
	case i < 0:
		p.errorf(n.line, "unknown code %s%s", quote(n.text), didYouMean(n.text, codeNames[1:]))
	case i == 0:
		p.errorf(n.line, "an error cannot have the code %s", n.text)
	default:
		return codes.Code(i) //nolint:gosec // at most 16
	}
	return codes.Unknown
}

// codeNames are the names of the codes in the gRPC specification.
var codeNames = []string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
	"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// metadata parses headers or trailers. It returns nil for a nil node. subject names them
// in errors.
func (p *parser) metadata(n *node, subject string) metadata.MD {
	if n == nil {
		return nil
	}
	if n.kind != yaml.MappingNode {
		p.errorf(n.line, "%s must be a mapping of names to values, not %s", subject, n.describe())
		return nil
	}
	md := make(metadata.MD)
	for _, f := range n.fields {
		if p.full() {
			break
		}
		name := strings.ToLower(f.key)
		if reason := checkName(name); reason != "" {
			p.errorf(f.line, "the name %s in %s %s", quote(f.key), subject, reason)
			continue
		}
		values := f.value.items
		if f.value.kind != yaml.SequenceNode {
			values = []*node{f.value}
		}
		for _, v := range values {
			text, expected := metadataValue(name, v)
			if expected != "" {
				p.errorf(v.line, "%s in %s must be %s", quote(f.key), subject, expected)
				break
			}
			md.Append(name, text)
		}
	}
	return md
}

// checkName returns the reason why metadata with that name can't be sent, "" if it can.
func checkName(name string) string {
	switch name {
	case "":
		return "is empty"
	case "content-type", "content-length", "te", "user-agent", "host",
		"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		return "is reserved for HTTP"
	}
	if strings.HasPrefix(name, "grpc-") {
		return "is reserved for gRPC"
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("-_.", rune(c)) {
			return "must consist of letters, digits, -, _ and ."
		}
	}
	return ""
}

// metadataValue returns the value of n for metadata with that name. If n isn't valid,
// expected completes the error "must be …".
func metadataValue(name string, n *node) (text, expected string) {
	if n.kind != yaml.ScalarNode || n.isNull() {
		return "", "a string or a list of strings, not " + n.describe()
	}
	if strings.HasSuffix(name, "-bin") {
		data, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(n.text, "="))
		if err != nil {
			return "", "base64, not " + n.describe()
		}
		return string(data), ""
	}
	if !isPrintable(n.text) {
		return "", "printable ASCII, not " + n.describe()
	}
	return n.text, ""
}

// isPrintable reports whether text can be the value of metadata.
func isPrintable(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' })
}
