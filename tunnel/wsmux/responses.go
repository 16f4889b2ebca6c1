package wsmux

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// responses corrects the statuses of a client's calls, after a responseConn has prepared
// the responses.
type responses struct {
	logger *slog.Logger
	goAway atomic.Pointer[string] // describes the last GOAWAY
	warned atomic.Bool
}

// unary is a grpc.UnaryClientInterceptor.
func (r *responses) unary(
	ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	var trailer metadata.MD
	err := invoke(ctx, method, req, reply, cc, append(opts, grpc.Trailer(&trailer))...)
	err = r.correct(method, err, trailer)
	for _, o := range opts {
		if o, ok := o.(grpc.TrailerCallOption); ok {
			*o.TrailerAddr = trailer
		}
	}
	return err
}

// stream is a grpc.StreamClientInterceptor.
func (r *responses) stream(
	ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	s, err := open(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, r.correct(method, err, nil)
	}
	return &responseStream{ClientStream: s, responses: r, method: method}, nil
}

// responseStream is a stream with a corrected status.
type responseStream struct {
	grpc.ClientStream
	responses *responses
	method    string
	trailer   metadata.MD // nil: as received
}

func (s *responseStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err != nil {
		s.trailer = s.ClientStream.Trailer()
		err = s.responses.correct(s.method, err, s.trailer)
	}
	return err
}

func (s *responseStream) Trailer() metadata.MD {
	if s.trailer != nil {
		return s.trailer.Copy()
	}
	md := s.ClientStream.Trailer() // of a call that has ended with OK and one message
	_ = s.responses.correct(s.method, nil, md)
	return md
}

// correct returns the status of a call that grpc-go reports as err, which may be nil or
// io.EOF, and changes the details in trailer accordingly.
func (r *responses) correct(method string, err error, trailer metadata.MD) error {
	st := status.New(codes.OK, "")
	if !errors.Is(err, io.EOF) {
		st = status.Convert(err)
	}
	values := trailer[detailsKey]
	if len(values) != 2 || values[1] != "" { // see responseConn
		if st.Code() == codes.OK {
			return err
		}
		return r.explain(st, err)
	}
	trailer[detailsKey] = values[:1]
	details := new(spb.Status)
	switch {
	case proto.Unmarshal([]byte(values[0]), details) != nil:
		return err // not a google.rpc.Status
	case codes.Code(uint32(details.GetCode())) != st.Code(): //nolint:gosec // any number is a code
		delete(trailer, detailsKey)
		r.logDropped(method, st, details)
		return err
	case st.Code() == codes.OK:
		return err
	}
	if st.Message() != "" && st.Message() != details.GetMessage() {
		details.Message = st.Message()
		if p, err := proto.Marshal(details); err == nil {
			trailer[detailsKey] = []string{string(p)}
		}
	}
	return status.FromProto(details).Err()
}

// logDropped logs details that contradict a status: for the client's first call at level
// Warn.
func (r *responses) logDropped(method string, st *status.Status, details *spb.Status) {
	log := r.logger.Debug
	if r.warned.CompareAndSwap(false, true) {
		log = r.logger.Warn
	}
	log("status details dropped: they contradict grpc-status",
		slog.String("method", method), slog.String("code", st.Code().String()), slog.String("message", st.Message()),
		slog.String("details", codes.Code(uint32(details.GetCode())).String()+": "+details.GetMessage())) //nolint:gosec // any number is a code
}

// explain returns the error of st, which grpc-go reports as err, with a better text if
// that is about the response or the connection.
func (r *responses) explain(st *status.Status, err error) error {
	text := st.Message()
	if rest, ok := strings.CutPrefix(text, "unexpected HTTP status code received from server: "); ok {
		number, rest, _ := strings.Cut(rest, " (")
		name, rest, _ := strings.Cut(rest, ")")
		return status.Error(st.Code(), strings.TrimSpace("HTTP "+number+" "+name)+strings.TrimPrefix(rest, "; malformed header: missing HTTP content-type"))
	}
	if before, goAway, ok := strings.Cut(text, ", received prior goaway: code: "); ok && st.Code() == codes.Unavailable {
		return status.Error(st.Code(), before+": GOAWAY "+strings.Replace(goAway, ", debug data: ", ": ", 1))
	}
	if goAway := r.goAway.Load(); goAway != nil && st.Code() == codes.Unavailable && isGoAway(text) {
		return status.Error(st.Code(), text+": "+*goAway)
	}
	return nameMetadataLimit(err)
}

// isGoAway reports whether text is grpc-go's about a call that a GOAWAY excludes, or about a
// GOAWAY before SETTINGS.
func isGoAway(text string) bool {
	return text == "the stream is rejected because server is draining the connection" || text == "the connection is draining" ||
		strings.HasSuffix(text, `initial http2 frame from server is not a settings frame: *http2.GoAwayFrame"`)
}
