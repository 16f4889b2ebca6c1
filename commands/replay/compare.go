package replay

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/commands/message"
	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/reflection/types"
	"github.com/wstun/wstun/tunnel/trace"
)

// findTimeout is how long the target may take to describe a method or a type.
const findTimeout = 5 * time.Second

// comparer compares calls. It remembers methods.
type comparer struct {
	catalog  *reflection.Catalog
	rules    *Rules
	metadata bool
	redact   func(protoreflect.FieldDescriptor) bool
	methods  map[string]*method
}

// method is a method and its places.
type method struct {
	symbol                               *reflection.Symbol // nil: its messages have no schema
	input, output                        protoreflect.MessageDescriptor
	root                                 *place // of a response
	status, responses, headers, trailers *place
}

// method returns the method with a path.
func (c *comparer) method(ctx context.Context, path string) *method {
	if m := c.methods[path]; m != nil {
		return m
	}
	m := &method{}
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(path, "/"), "/", "."))
	var typ protoreflect.FullName
	if symbol, err := c.catalog.Find(ctx, name); err == nil {
		if d, ok := symbol.Descriptor.(protoreflect.MethodDescriptor); ok {
			m.symbol, m.input, m.output, typ = symbol, d.Input(), d.Output(), d.Output().FullName()
		}
	}
	rules := c.rules.of(path)
	m.root = newPlace(rules, "", "", typ, false)
	special := func(name string) *place { return newPlace(rules, name, name, "", true) }
	m.status, m.responses, m.headers, m.trailers = special(statusPath), special(responsesPath), special(headerPath), special(trailerPath)
	c.methods[path] = m
	return m
}

// types returns a resolver of the types in a method's messages. It asks the target until
// ctx ends.
func (m *method) types(ctx context.Context) types.Resolver {
	if m.symbol == nil {
		return types.Resolvers(nil)
	}
	return m.symbol.Types(ctx)
}

// compare returns the differences between a call and its replay. complete is false if there
// are more.
func (c *comparer) compare(ctx context.Context, recorded *script, got *outcome) (found []*Difference, complete bool) {
	m := c.method(ctx, recorded.method)
	finding, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	d := &diff{ctx: ctx, types: m.types(finding), redact: c.redact}
	d.responses(m, recorded, got)
	d.response, d.redacted = 0, nil
	d.count(m, recorded, got)
	d.status(m, recorded, got)
	if c.metadata {
		d.allMetadata(m, recorded, got)
	}
	return d.found, !d.cut
}

// responses compares the responses that are on both sides.
func (d *diff) responses(m *method, recorded *script, got *outcome) {
	n := min(len(recorded.responses), len(got.responses))
	if m.responses.unordered {
		d.unorderedResponses(m, recorded.responses[:n], got.responses[:n])
		return
	}
	for i, e := range recorded.responses[:n] {
		if len(recorded.responses) > 1 {
			d.response = i + 1
		}
		d.skip("", e.Redacted)
		d.bytes(m.root, m.output, e.Data, got.responses[i])
	}
}

// unorderedResponses compares responses whose order doesn't matter. Fields that one of them
// has lost aren't compared in any.
func (d *diff) unorderedResponses(m *method, recorded []*recording.Event, got [][]byte) {
	var redacted []string
	for _, e := range recorded {
		redacted = append(redacted, e.Redacted...)
	}
	d.skip("", redacted)
	key := func(data []byte) string {
		decoded := d.decode(m.output, data)
		d.prune(m.root, decoded)
		return d.message(decoded)
	}
	var keys, others []string
	for i, e := range recorded {
		keys, others = append(keys, key(e.Data)), append(others, key(got[i]))
	}
	onlyRecorded, onlyGot := unmatched(keys, others)
	for i, at := range onlyRecorded {
		d.response = at + 1
		d.bytes(m.root, m.output, recorded[at].Data, got[onlyGot[i]])
	}
}

// count compares the numbers of responses. The missing response of a unary call that failed
// is no difference of its own.
func (d *diff) count(m *method, recorded *script, got *outcome) {
	want := len(recorded.responses)
	switch {
	case m.responses.ignored || got.count == want, !recorded.ends && got.count > want,
		recorded.ends && max(want, got.count) == 1 && got.code() != recorded.status.Code():
		return
	}
	d.report(m.responses, func() (string, string) { return strconv.Itoa(want), strconv.Itoa(got.count) })
}

// status compares the ends of the calls: codes and, if they are equal, messages and details,
// unless the server didn't send the status.
func (d *diff) status(m *method, recorded *script, got *outcome) {
	switch {
	case m.status.ignored:
	case !recorded.ends && (got.status == nil || got.count >= len(recorded.responses)): // it had not ended by itself
	case got.status == nil || !recorded.ends || got.code() != recorded.status.Code():
		d.report(m.status, func() (string, string) { return quote(recorded.describe()), quote(got.describe()) })
	case !recorded.reset:
		d.skip(statusPath, recorded.end.Redacted)
		d.messages(m.status, recorded.status.Proto().ProtoReflect(), got.status.Proto().ProtoReflect())
	}
}

// allMetadata compares the metadata of the responses.
func (d *diff) allMetadata(m *method, recorded *script, got *outcome) {
	d.metadata(m.headers, recorded.headers, got.headers)
	if recorded.ends && got.status != nil {
		d.metadata(m.trailers, recorded.trailers, got.trailers)
	}
}

func (d *diff) metadata(p *place, recorded []hpack.HeaderField, got metadata.MD) {
	want := metadata.MD{}
	for _, f := range recorded {
		want[f.Name] = append(want[f.Name], strings.TrimRight(f.Value, "="))
	}
	names := maps.Clone(want)
	maps.Copy(names, got)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		q := p.child(name, name, name, "")
		if isProtocol(name) || d.ignores(q) || slices.Contains(want[name], trace.Redacted) {
			continue
		}
		var values []string
		for _, value := range got[name] {
			if strings.HasSuffix(name, "-bin") {
				value = base64.RawStdEncoding.EncodeToString([]byte(value))
			}
			values = append(values, strings.TrimRight(value, "="))
		}
		if a, b := quoteAll(want[name]), quoteAll(values); a != b {
			d.report(q, func() (string, string) { return a, b })
		}
	}
}

// quoteAll joins the values of metadata, as servers may do, too (RFC 9110 §5.3).
func quoteAll(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return quote(strings.Join(values, ", "))
}

// isProtocol reports whether metadata belongs to gRPC or HTTP, and not to the application.
func isProtocol(name string) bool {
	return call.Reserved(name) != "" || name == "date" || strings.HasPrefix(name, "grpc-") && name != "grpc-trace-bin" && name != "grpc-tags-bin"
}

// describe describes the end of the call.
func (s *script) describe() string {
	switch {
	case s.end == nil:
		return "still open"
	case !s.ends:
		return "cancelled by the client"
	}
	return describe(s.status)
}

func (o *outcome) describe() string {
	if o.status == nil {
		return fmt.Sprintf("still open after %v", o.took.Round(time.Millisecond))
	}
	return describe(o.status)
}

func describe(s *status.Status) string {
	return strings.TrimSpace(recording.StatusName(s.Code()) + " " + s.Message())
}

func (o *outcome) code() codes.Code {
	if o.status == nil {
		return trace.NoStatus
	}
	return o.status.Code()
}

// deadlineLeeway is how much earlier than its deadline a call may end because of it.
const deadlineLeeway = 5 * time.Millisecond

// hitDeadline reports whether a call ended because of its deadline, timeout after its
// beginning.
func hitDeadline(end *recording.Event, timeout time.Duration) bool {
	return end != nil && timeout > 0 &&
		(end.Type == trace.ServerTrailer && end.Code == codes.DeadlineExceeded ||
			end.Type == trace.Cancel && end.Duration+deadlineLeeway >= timeout)
}

// endStatus returns the status that the client of a recorded call has received; reset says
// that the server didn't send it, so that only the code is known. It returns nil if the
// client has cancelled the call.
func endStatus(end *recording.Event, timeout time.Duration) (s *status.Status, reset bool) {
	switch {
	case hitDeadline(end, timeout):
		return status.New(codes.DeadlineExceeded, "the deadline passed"), true
	case end.Type == trace.Cancel && end.Side == trace.Client:
		return nil, false
	case end.Type == trace.Cancel:
		return status.New(resetCode(end.HTTP2Code), "stream reset with "+recording.CodeName(end.HTTP2Code)), true
	case end.Code == codes.OK: // clients don't get the message that some servers send with it
		return status.New(codes.OK, ""), false
	case end.Details != nil:
		return status.FromProto(&spb.Status{Code: int32(end.Code), Message: end.Details.GetMessage(), Details: end.Details.GetDetails()}), false //nolint:gosec // codes are small
	}
	return status.New(end.Code, end.Message), false
}

// resetCode returns the status of a stream that the server has reset. See
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#errors.
func resetCode(code http2.ErrCode) codes.Code {
	switch code {
	case http2.ErrCodeRefusedStream:
		return codes.Unavailable
	case http2.ErrCodeCancel:
		return codes.Canceled
	case http2.ErrCodeEnhanceYourCalm:
		return codes.ResourceExhausted
	case http2.ErrCodeInadequateSecurity:
		return codes.PermissionDenied
	}
	return codes.Internal
}

// request returns the first request of a call in JSON, shortened, "" if there is none.
func (c *comparer) request(ctx context.Context, recorded *script) string {
	if len(recorded.requests) == 0 {
		return ""
	}
	m := c.method(ctx, recorded.method)
	finding, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	data := recorded.requests[0].Data
	if m.input != nil && !m.input.IsPlaceholder() {
		d := &diff{ctx: ctx, types: m.types(finding), redact: c.redact}
		return part(d.message(d.decode(m.input, data)), 0, maxShortened)
	}
	text, err := message.Raw(ctx, data, &message.Options{Compact: true})
	if err != nil {
		return ""
	}
	return part(text, 0, maxShortened)
}
