package reflection

import (
	"context"
	"errors"
	"fmt"
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
	// maxTraffic bounds the answers of a server, in bytes: some servers send the
	// imports of a file with each file again.
	maxTraffic = 512 * 1024 * 1024

	// maxBatch bounds the requests in flight: few enough not to fill a window,
	// enough to hide the latency of a slow link.
	maxBatch = 16

	// maxRequest bounds one request, in bytes: maxBatch of them fit into a window.
	maxRequest = 2 * 1024

	// endWait bounds how long a stream may take to end.
	endWait = time.Second
)

// versions are those of reflection. They differ in their package names only, so the
// messages of v1 serve for both.
var versions = []string{"v1", "v1alpha"}

// talk is a reflection stream that opens when needed.
type talk struct {
	cc      grpc.ClientConnInterface
	version string
	stream  grpc.BidiStreamingClient[request, response]
	cancel  context.CancelFunc
}

// ask sends questions together and calls take with each answer. It returns the number
// of answers. After an error the stream is closed.
func (t *talk) ask(ctx context.Context, batch []question, take func(question, *response)) (int, error) {
	if t.stream == nil {
		if err := t.open(ctx); err != nil {
			return 0, err
		}
	}
	for _, q := range batch {
		if err := t.stream.Send(q.request); errors.Is(err, io.EOF) {
			break // Recv returns the reason
		} else if err != nil {
			t.abort()
			return 0, err
		}
	}
	for i, q := range batch {
		answer, err := t.stream.Recv()
		if err != nil {
			t.abort()
			if errors.Is(err, io.EOF) {
				err = status.Error(codes.Unknown, "the server ended the stream early")
			}
			return i, err
		}
		take(q, answer)
	}
	return len(batch), nil
}

func (t *talk) open(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := t.cc.NewStream(ctx, &grpc_reflection_v1.ServerReflection_ServiceDesc.Streams[0],
		"/grpc.reflection."+t.version+".ServerReflection/ServerReflectionInfo", grpc.MaxCallRecvMsgSize(maxBytes))
	if err != nil {
		cancel()
		return err
	}
	t.stream, t.cancel = &grpc.GenericClientStream[request, response]{ClientStream: stream}, cancel
	return nil
}

// end half-closes the stream and waits for the server to end it, up to endWait; then
// it resets the stream.
func (t *talk) end() {
	if t.stream == nil {
		return
	}
	defer time.AfterFunc(endWait, t.cancel).Stop()
	if t.stream.CloseSend() == nil {
		_, _ = t.stream.Recv() // io.EOF; anything else is reset below
	}
	t.abort()
}

func (t *talk) abort() {
	t.cancel()
	t.stream = nil
}

// question is one request, with the name of what it asks for.
type question struct {
	what     string
	request  *request
	optional bool // a missing answer isn't a problem
}

// fetch is the state of one call of a Server's method.
type fetch struct {
	b       *builder
	t       *talk
	batch   int
	queue   []question
	asked   map[string]bool // by question.what
	symbols map[string]bool // services and extensions received
	bytes   int             // of files, that it may still keep
	traffic int             // bytes that it may still receive
	spoke   bool            // the server has answered: it knows this version
	full    bool            // a limit is reached: it keeps nothing more
}

// list asks for the services' names.
func (f *fetch) list(ctx context.Context) ([]string, error) {
	q := question{request: &request{
		MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{ListServices: "*"},
	}}
	var answer *response
	if _, err := f.t.ask(ctx, []question{q}, func(_ question, a *response) { answer, f.spoke = a, true }); err != nil {
		return nil, fmt.Errorf("reflection: list services: %w", brief(err))
	}
	if e := answer.GetErrorResponse(); e != nil {
		return nil, fmt.Errorf("reflection: list services: %w", brief(answerError(e)))
	}
	list := answer.GetListServicesResponse()
	if list == nil {
		return nil, fmt.Errorf("reflection: list services: %w", brief(status.Error(codes.Internal, "the answer is not a list of services")))
	}
	names := make([]string, 0, len(list.GetService()))
	for _, s := range list.GetService() {
		names = append(names, s.GetName())
	}
	names = serviceNames(names)
	if len(names) > maxFiles {
		f.b.problem("there are more than %d services", maxFiles)
		names = names[:maxFiles]
	}
	return names, nil
}

func answerError(e *grpc_reflection_v1.ErrorResponse) error {
	code := codes.Code(uint32(e.GetErrorCode())) //nolint:gosec // any number is a code
	if code == codes.OK {
		code = codes.Unknown
	}
	return status.Error(code, short(e.GetErrorMessage()))
}

// short shortens a peer's text to the length of a line.
func short(s string) string {
	const limit = 300
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// push queues a question, unless it was queued before or a limit is reached.
func (f *fetch) push(q question) {
	if f.asked[q.what] || len(f.asked) >= 3*maxFiles || proto.Size(q.request) > maxRequest {
		return
	}
	f.asked[q.what] = true
	f.queue = append(f.queue, q)
}

// run asks until the queue is empty. Each round answers a question, drops one or
// shrinks the batch, so it ends. Some servers end the stream at a question that they
// can't answer: run then asks the others one by one.
func (f *fetch) run(ctx context.Context) error {
	for !f.full {
		var batch []question
		for len(f.queue) > 0 && len(batch) < f.batch {
			q := f.queue[0]
			if f.queue = f.queue[1:]; !f.known(q) {
				batch = append(batch, q)
			}
		}
		if len(batch) == 0 {
			return nil
		}
		n, err := f.t.ask(ctx, batch, f.take)
		if err == nil {
			continue
		}
		if ctx.Err() != nil || final(err) || !f.spoke && status.Code(err) == codes.Unimplemented {
			return err
		}
		rest := batch[n:]
		if n == 0 && f.batch == 1 {
			f.refused(rest[0], err)
			rest = rest[1:]
		}
		f.batch = 1
		f.queue = append(rest, f.queue...)
	}
	f.queue = nil
	return nil
}

// final reports whether further questions would fail too.
func final(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded, codes.Unauthenticated, codes.PermissionDenied:
		return true
	default:
		return false
	}
}

// known reports whether another answer has answered q already.
func (f *fetch) known(q question) bool {
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

func (f *fetch) refused(q question, err error) {
	if !q.optional {
		f.b.problem("%s: %s: %s", q.what, status.Code(err), short(status.Convert(err).Message()))
	}
}

// askForFile queues the question for a file, unless it's known or built in.
func (f *fetch) askForFile(path string, optional bool) {
	if builtin(path) == nil && f.b.files[path] == nil {
		f.push(question{
			what:     fmt.Sprintf("file %q", path),
			optional: optional,
			request: &request{
				MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileByFilename{FileByFilename: path},
			},
		})
	}
}

// wanted queues the questions for the imports of a file.
func (f *fetch) wanted(fdp *descriptorpb.FileDescriptorProto) {
	for _, dep := range fdp.GetDependency() {
		f.askForFile(dep, false)
	}
	for _, dep := range fdp.GetOptionDependency() {
		f.askForFile(dep, true)
	}
}
