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

	"github.com/wstun/wstun/commands/yamlfile"
)

// rule parses a rule for the method desc. It returns nil after an error.
func (p *parser) rule(n *yamlfile.Node, desc protoreflect.MethodDescriptor) *rule {
	before := p.Mistakes()
	if !p.mapping(n, "a rule", "when", "delay", "headers", "reply", "stream", "stay_open", "error", "trailers") {
		return nil
	}
	r := &rule{
		line:     n.Line,
		delay:    p.duration(n.Get("delay")),
		headers:  p.metadata(n.Get("headers"), "headers"),
		stayOpen: p.boolean(n.Get("stay_open"), "stay_open"),
		trailers: p.metadata(n.Get("trailers"), "trailers"),
	}
	if when := n.Get("when"); when != nil {
		r.when = p.when(when, desc.Input())
	}
	if failure := n.Get("error"); failure != nil {
		r.err = p.status(failure)
	}
	if message := n.Get("reply"); message != nil {
		r.replies = []reply{{message: p.message(message, desc.Output())}}
	}
	if stream := n.Get("stream"); stream != nil {
		r.replies = p.stream(stream, desc.Output())
	}
	if p.Mistakes() == before {
		p.checkKind(n, r, desc)
	}
	if p.Mistakes() > before {
		return nil
	}
	return r
}

// checkKind checks that r, parsed from n, is valid for the kind of its method.
func (p *parser) checkKind(n *yamlfile.Node, r *rule, desc protoreflect.MethodDescriptor) {
	message, stream, name := n.Get("reply"), n.Get("stream"), desc.Name()
	one := !desc.IsStreamingServer()
	switch {
	case one && stream != nil:
		p.Errorf(stream.Line, "%s has one response: use reply instead of stream", name)
	case one && r.stayOpen:
		p.Errorf(n.Get("stay_open").Line, "%s has one response and cannot stay open", name)
	case one && message != nil && r.err != nil:
		p.Errorf(n.Get("error").Line, "%s cannot have both a reply and an error", name)
	case one && message == nil && r.err == nil:
		p.Errorf(n.Line, "%s needs a reply or an error", name)
	case message != nil && stream != nil:
		p.Errorf(stream.Line, "a rule cannot have both reply and stream")
	case r.stayOpen && r.err != nil:
		p.Errorf(n.Get("error").Line, "a rule cannot have both stay_open and error")
	case message == nil && stream == nil && !r.stayOpen && r.err == nil:
		p.Errorf(n.Line, "the rule has no reply, stream or error; to send no responses, use stream: []")
	}
}

// stream parses a list of replies.
func (p *parser) stream(n *yamlfile.Node, md protoreflect.MessageDescriptor) []reply {
	if n.Kind != yaml.SequenceNode {
		p.Errorf(n.Line, "stream must be a list of items with delay, reply, not %s", n.Describe())
		return nil
	}
	replies := make([]reply, 0, len(n.Items))
	for _, item := range n.Items {
		if p.Full() {
			break
		}
		if !p.mapping(item, "an item of stream", "delay", "reply") {
			continue
		}
		next := reply{delay: p.duration(item.Get("delay"))}
		if message := item.Get("reply"); message != nil {
			next.message = p.message(message, md)
		} else if item.Get("delay") == nil {
			p.Errorf(item.Line, "an item of stream needs a reply, a delay or both")
		}
		replies = append(replies, next)
	}
	return replies
}

// status parses an error.
func (p *parser) status(n *yamlfile.Node) error {
	if !p.mapping(n, "error", "code", "message", "details") {
		return nil
	}
	s := &spb.Status{}
	if code := n.Get("code"); code != nil {
		s.Code = int32(p.code(code)) //nolint:gosec // at most 16
	} else {
		p.Errorf(n.Line, "error needs a code")
	}
	if message := n.Get("message"); message != nil {
		if message.Kind != yaml.ScalarNode || message.IsNull() {
			p.Errorf(message.Line, "message must be a string, not %s", message.Describe())
		}
		s.Message = message.Text
	}
	details := n.Get("details")
	if details == nil {
		return status.ErrorProto(s)
	}
	if details.Kind != yaml.SequenceNode {
		p.Errorf(details.Line, "details must be a list, not %s", details.Describe())
		return nil
	}
	for _, item := range details.Items {
		if p.Full() {
			break
		}
		if detail := p.detail(item); detail != nil {
			s.Details = append(s.Details, detail)
		}
	}
	return status.ErrorProto(s)
}

// detail parses a detail of an error.
func (p *parser) detail(n *yamlfile.Node) *anypb.Any {
	i := slices.IndexFunc(n.Fields, func(f yamlfile.Field) bool { return f.Key == "@type" })
	if i < 0 {
		p.Errorf(n.Line, "a detail must be a mapping with @type, such as type.googleapis.com/google.rpc.ErrorInfo")
		return nil
	}
	url := n.Fields[i].Value
	if _, err := p.types.FindMessageByURL(url.Text); err != nil {
		p.Errorf(url.Line, "unknown @type %s", yamlfile.Quote(url.Text))
		return nil
	}
	if !strings.Contains(url.Text, "/") {
		full := *url
		full.Text = "type.googleapis.com/" + url.Text
		n = &yamlfile.Node{Kind: n.Kind, Line: n.Line, Fields: slices.Clone(n.Fields)}
		n.Fields[i].Value = &full
	}
	detail := new(anypb.Any)
	if !p.unmarshal(n, detail, "detail", false) {
		return nil
	}
	return detail
}

// code parses a status code.
func (p *parser) code(n *yamlfile.Node) codes.Code {
	i := slices.IndexFunc(codeNames, func(name string) bool { return strings.EqualFold(n.Text, name) })
	if number, err := strconv.Atoi(n.Text); err == nil && number >= 0 && number < len(codeNames) {
		i = number
	}
	switch {
	case n.Kind != yaml.ScalarNode || n.IsNull():
		p.Errorf(n.Line, "code must be a name such as NOT_FOUND or a number, not %s", n.Describe())
	case i < 0:
		p.Errorf(n.Line, "unknown code %s%s", yamlfile.Quote(n.Text), yamlfile.DidYouMean(n.Text, codeNames[1:]))
	case i == 0:
		p.Errorf(n.Line, "an error cannot have the code %s", n.Text)
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
func (p *parser) metadata(n *yamlfile.Node, subject string) metadata.MD {
	if n == nil {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		p.Errorf(n.Line, "%s must be a mapping of names to values, not %s", subject, n.Describe())
		return nil
	}
	md := make(metadata.MD)
	for _, f := range n.Fields {
		if p.Full() {
			break
		}
		name := strings.ToLower(f.Key)
		if reason := checkName(name); reason != "" {
			p.Errorf(f.Line, "the name %s in %s %s", yamlfile.Quote(f.Key), subject, reason)
			continue
		}
		values := f.Value.Items
		if f.Value.Kind != yaml.SequenceNode {
			values = []*yamlfile.Node{f.Value}
		}
		for _, v := range values {
			text, expected := metadataValue(name, v)
			if expected != "" {
				p.Errorf(v.Line, "%s in %s must be %s", yamlfile.Quote(f.Key), subject, expected)
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
func metadataValue(name string, n *yamlfile.Node) (text, expected string) {
	if n.Kind != yaml.ScalarNode || n.IsNull() {
		return "", "a string or a list of strings, not " + n.Describe()
	}
	if strings.HasSuffix(name, "-bin") {
		data, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(n.Text, "="))
		if err != nil {
			return "", "base64, not " + n.Describe()
		}
		return string(data), ""
	}
	if !isPrintable(n.Text) {
		return "", "printable ASCII, not " + n.Describe()
	}
	return n.Text, ""
}

// isPrintable reports whether text can be the value of metadata.
func isPrintable(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' })
}
