package stub

import (
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/tunnel/trace"
)

// A recordedCall is a recorded call that can answer.
type recordedCall struct {
	number   uint64 // as recorded
	index    int    // in recorded.calls
	requests []request

	// The responses. If the client streams, parts[0] precedes the first request,
	// parts[n] follows request n, and the last one the half-close, if it is recorded.
	// Otherwise there is one part.
	parts      []part
	halfClosed bool

	used bool // it has answered; guarded by recorded.mu
}

// A part is a part of the responses of a recorded call: a rule without a condition.
type part struct {
	rule
	ends bool // the call ends after it
}

// sends reports whether the part has more than headers.
func (p *part) sends() bool { return len(p.replies) > 0 || p.ends }

// problem returns why a call can't answer, "" if it can, whatever its method is.
func problem(c *recording.Call) string {
	if reason := c.Incomplete(); reason != "" {
		return reason
	}
	end := c.End()
	switch {
	case end == nil:
		return ""
	case end.Side == trace.Wstun && end.Type != trace.Cut:
		return "wstun answered it"
	case end.Type == trace.Cancel && end.Side == trace.Server && (end.Timeout == 0 || end.Duration < end.Timeout):
		return "the server reset it"
	}
	return ""
}

// record adds c. It returns why c can't answer, "" if it can.
func (m *method) record(c *recording.Call, delays bool) (reason string) {
	rc := &recordedCall{number: c.Number, parts: make([]part, 1)}
	streams, last := m.desc.IsStreamingClient(), c.Events[0].Time
	for _, e := range c.Events {
		now, gap := &rc.parts[len(rc.parts)-1], time.Duration(0)
		if delays {
			gap = max(0, e.Time.Sub(last))
		}
		last = e.Time
		switch e.Type {
		case trace.ClientMessage:
			req, reason := m.newRequest(e)
			if reason != "" {
				return reason
			}
			rc.requests = append(rc.requests, req)
			if streams {
				rc.parts = append(rc.parts, part{})
			}
		case trace.ClientHalfClose:
			if streams && !rc.halfClosed {
				rc.halfClosed = true
				rc.parts = append(rc.parts, part{})
			}
		case trace.ServerHeader:
			now.delay, now.headers = gap, custom(e.Metadata)
		case trace.ServerMessage:
			now.replies = append(now.replies, reply{gap, encoded(e.Data)})
		case trace.ServerTrailer:
			if gap > 0 {
				now.replies = append(now.replies, reply{delay: gap})
			}
			now.ends, now.err, now.trailers = true, statusOf(e), custom(e.Metadata)
		case trace.Cut:
			if !m.desc.IsStreamingServer() {
				return "it was cut"
			}
		default: // the client's cancel, and those without a meaning here
		}
	}
	if !streams && len(rc.requests) != 1 {
		return "it doesn't have one request"
	}
	r := m.recorded
	rc.index = len(r.calls)
	r.calls = append(r.calls, rc)
	if len(rc.requests) > 0 {
		r.first[rc.requests[0]] = append(r.first[rc.requests[0]], rc)
	}
	return ""
}

// encoded returns a message whose encoding is data, even if data is malformed.
func encoded(data []byte) proto.Message {
	m := new(emptypb.Empty)
	m.ProtoReflect().SetUnknown(data)
	return m
}

// statusOf returns the error of a ServerTrailer, nil for OK.
func statusOf(e *recording.Event) error {
	return status.ErrorProto(&spb.Status{
		Code:    int32(e.Code), //nolint:gosec // unknown codes stay as they are
		Message: e.Message, Details: e.Details.GetDetails(),
	})
}

// custom returns the fields that a handler may send, without redacted ones. It isn't nil.
func custom(fields []hpack.HeaderField) metadata.MD {
	md := metadata.MD{}
	for _, f := range fields {
		value, ok := recording.MetadataValue(f)
		if ok && checkName(f.Name) == "" && (strings.HasSuffix(f.Name, "-bin") || isPrintable(value)) {
			md.Append(f.Name, value)
		}
	}
	return md
}
