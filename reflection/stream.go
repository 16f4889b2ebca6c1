package reflection

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

type (
	request  = grpc_reflection_v1.ServerReflectionRequest
	response = grpc_reflection_v1.ServerReflectionResponse
)

const (
	// maxTraffic bounds the answers of a server, in bytes. It exceeds maxBytes because
	// some servers send the imports again with every file.
	maxTraffic = 512 * 1024 * 1024

	// maxBatch bounds the requests in flight: few enough not to fill a window,
	// enough to hide the latency of a slow link.
	maxBatch = 16

	// maxRequest bounds one request, in bytes: maxBatch of them fit into a window.
	maxRequest = 2 * 1024

	// maxQuestions bounds the requests to one server.
	maxQuestions = 3 * maxFiles

	// questionBytes is the memory for a question in addition to its texts.
	questionBytes = 400

	// endWait bounds how long a stream may take to end.
	endWait = time.Second
)

// versions are the versions of reflection, in the order to try them. They differ only
// in the package name, so the messages of v1 work for both.
var versions = []string{"v1", "v1alpha"}

// lazyStream is a reflection stream that opens on first use.
type lazyStream struct {
	cc      grpc.ClientConnInterface
	version string
	codec   *codec
	stream  grpc.BidiStreamingClient[request, response]
	cancel  context.CancelFunc
}

// exchange sends all questions of batch, then calls handle with each answer. It returns
// the number of answers. After an error the stream is closed.
func (s *lazyStream) exchange(ctx context.Context, batch []question, handle func(context.Context, question, *response)) (int, error) {
	if s.stream == nil {
		if err := s.open(ctx); err != nil {
			return 0, err
		}
	}
	for _, q := range batch {
		if err := s.stream.Send(q.request); errors.Is(err, io.EOF) {
			break // Recv returns the reason
		} else if err != nil {
			s.reset()
			return 0, err
		}
	}
	for i, q := range batch {
		answer, err := s.stream.Recv()
		if err != nil {
			s.reset()
			if errors.Is(err, io.EOF) {
				err = status.Error(codes.Unknown, "the server ended the stream early")
			}
			return i, err
		}
		handle(ctx, q, answer)
		s.codec.release(s.codec.held)
	}
	return len(batch), nil
}

func (s *lazyStream) open(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := s.cc.NewStream(ctx, &grpc_reflection_v1.ServerReflection_ServiceDesc.Streams[0],
		"/grpc.reflection."+s.version+".ServerReflection/ServerReflectionInfo", grpc.MaxCallRecvMsgSize(maxBytes), grpc.ForceCodecV2(s.codec))
	if err != nil {
		cancel()
		return err
	}
	s.stream, s.cancel = &grpc.GenericClientStream[request, response]{ClientStream: stream}, cancel
	return nil
}

// close half-closes the stream and waits up to endWait for the server to end it, then
// resets it.
func (s *lazyStream) close() {
	if s.stream == nil {
		return
	}
	defer time.AfterFunc(endWait, s.cancel).Stop()
	if s.stream.CloseSend() == nil {
		_, _ = s.stream.Recv() // io.EOF, or else reset ends the stream
	}
	s.reset()
}

func (s *lazyStream) reset() {
	s.cancel()
	s.stream = nil
}

// question is one request and, for error messages, the name of its subject.
type question struct {
	subject  string
	request  *request
	optional bool // a missing answer isn't a problem
}

// fetch is the state of one call to a Server method.
type fetch struct {
	b        *builder
	stream   *lazyStream
	batch    int
	queue    []question
	queued   map[string]bool // by question.subject
	seed     maphash.Seed
	seen     map[uint64]string // hash of a file → its path
	symbols  map[string]bool   // services and extensions received
	bytes    int               // how many more bytes of files to keep
	answered bool              // the server has answered, so it offers this version
	stopped  bool              // a limit is reached: ignore further files

	extendable []string // messages that can have extensions
	questions  int      // the memory reserved for queued
}

// list asks for the names of the services.
func (f *fetch) list(ctx context.Context) ([]string, error) {
	q := question{request: &request{
		MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{ListServices: "*"},
	}}
	var answer *response
	if _, err := f.stream.exchange(ctx, []question{q}, func(_ context.Context, _ question, a *response) { answer, f.answered = a, true }); err != nil {
		if f.stream.codec.err != nil {
			err = status.Error(codes.ResourceExhausted, f.stream.codec.err.Error())
		}
		return nil, fmt.Errorf("reflection: list services: %w", brief(err))
	}
	if e := answer.GetErrorResponse(); e != nil {
		return nil, fmt.Errorf("reflection: list services: %w", brief(answerError(e)))
	}
	list := answer.GetListServicesResponse()
	if list == nil {
		return nil, fmt.Errorf("reflection: list services: %w", brief(status.Error(codes.Internal, "the answer is not a list of services")))
	}
	var names []string
	for _, s := range list.GetService() {
		if len(names) == maxFiles {
			f.b.problem("there are more than %d services", maxFiles)
			break
		}
		if len(s.GetName()) <= maxName {
			names = append(names, s.GetName())
		}
	}
	return serviceNames(names), nil
}

func answerError(e *grpc_reflection_v1.ErrorResponse) error {
	code := codes.Code(uint32(e.GetErrorCode())) //nolint:gosec // any number is a code
	if code == codes.OK {
		code = codes.Unknown
	}
	return status.Error(code, truncate(e.GetErrorMessage()))
}

// truncate shortens a peer's text to about one line.
func truncate(s string) string {
	const limit = 300
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// enqueue queues a question unless it was queued before. It returns false once a limit is
// reached.
func (f *fetch) enqueue(q question) bool {
	if len(f.queued) >= maxQuestions {
		return false
	}
	size := proto.Size(q.request)
	if f.queued[q.subject] || size > maxRequest {
		return true
	}
	size += len(q.subject) + questionBytes
	if err := f.b.memory.reserve(size); err != nil {
		f.stop("%s and all that follow are left out: %v", q.subject, err)
		return false
	}
	f.questions += size
	f.queued[q.subject] = true
	f.queue = append(f.queue, q)
	return true
}

// run sends questions until the queue is empty. It terminates because each round gets
// an answer, drops a question or shrinks the batch. Some servers end the stream at a
// question they can't answer: run then sends the others one by one.
func (f *fetch) run(ctx context.Context) error {
	for !f.stopped {
		var batch []question
		for len(f.queue) > 0 && len(batch) < f.batch {
			q := f.queue[0]
			if f.queue = f.queue[1:]; !f.redundant(q) {
				batch = append(batch, q)
			}
		}
		if len(batch) == 0 {
			return nil
		}
		n, err := f.stream.exchange(ctx, batch, f.handle)
		if err == nil {
			continue
		}
		if f.stream.codec.err != nil {
			f.stop("%s: %v: the rest is left out", batch[n].subject, f.stream.codec.err)
			continue
		}
		if ctx.Err() != nil || permanent(err) || !f.answered && status.Code(err) == codes.Unimplemented {
			return err
		}
		rest := batch[n:]
		if n == 0 && f.batch == 1 {
			f.recordError(rest[0], err)
			rest = rest[1:]
		}
		f.batch = 1
		if len(rest) > 0 {
			f.queue = append(rest, f.queue...)
		}
	}
	f.queue = nil
	return nil
}

// permanent reports whether further questions would fail too.
func permanent(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded, codes.Unauthenticated, codes.PermissionDenied:
		return true
	default:
		return false
	}
}

// redundant reports whether an earlier answer already contains the answer to q.
func (f *fetch) redundant(q question) bool {
	switch r := q.request.GetMessageRequest().(type) {
	case *grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol:
		return f.symbols[r.FileContainingSymbol]
	case *grpc_reflection_v1.ServerReflectionRequest_FileByFilename:
		return f.b.files[r.FileByFilename] != nil
	case *grpc_reflection_v1.ServerReflectionRequest_FileContainingExtension:
		x := r.FileContainingExtension
		return f.symbols[extensionKey(x.GetContainingType(), x.GetExtensionNumber())]
	default:
		return false
	}
}

func (f *fetch) recordError(q question, err error) {
	if !q.optional {
		f.b.problem("%s: %s: %s", q.subject, status.Code(err), truncate(status.Convert(err).Message()))
	}
}

// queueFile asks for a file unless it is built in or already received.
func (f *fetch) queueFile(path string, optional bool) {
	if builtin(path) == nil && f.b.files[path] == nil {
		f.enqueue(question{
			subject:  fmt.Sprintf("file %q", path),
			optional: optional,
			request: &request{
				MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileByFilename{FileByFilename: path},
			},
		})
	}
}

// queueImports asks for the imports of a file.
func (f *fetch) queueImports(fdp *descriptorpb.FileDescriptorProto) {
	for _, dep := range fdp.GetDependency() {
		f.queueFile(dep, false)
	}
	for _, dep := range fdp.GetOptionDependency() {
		f.queueFile(dep, true)
	}
}
