package backend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/commands/stub"
	"github.com/wstun/wstun/commands/textfile"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/limit"
)

// newStub returns a backend that answers calls from a file.
func newStub(o *Options, limits *limit.Process, logger *slog.Logger) (Backend, error) {
	set, err := o.Descriptors.Load()
	if err != nil {
		return nil, err
	}
	text, err := textfile.Read(o.Stub)
	if err != nil {
		return nil, usage.Errorf("--stub: %w", err)
	}
	parse := parseYAML
	if recording.Detect(text) {
		parse = parseRecording
	}
	s, sets, err := parse(o, text, set, logger)
	if err != nil {
		return nil, err
	}
	merged := reflection.NewMerged(len(sets), nil)
	b := &grpcBackend{
		limits:  limits,
		options: []grpc.ServerOption{s.ServerOption()},
		health:  health.NewServer(),
		register: func(g *limit.Server) {
			if !o.NoReflection {
				merged.Register(g)
			}
		},
		closeFirst: s.Close,
	}
	for i, set := range sets {
		merged.Set(i, set)
		b.finders = append(b.finders, reflection.FromSet(set))
	}
	for _, service := range s.Services() {
		b.health.SetServingStatus(service, grpc_health_v1.HealthCheckResponse_SERVING)
	}
	return b, nil
}

// parseYAML returns a Stub for a YAML file, and its descriptors.
func parseYAML(o *Options, text []byte, given *reflection.Set, _ *slog.Logger) (*stub.Stub, []*reflection.Set, error) {
	if given == nil {
		return nil, nil, &usage.Error{
			Err:    fmt.Errorf("--stub %s isn't a recording, so it needs the descriptors of its methods", o.Stub),
			Advice: "name the source with --proto, or a compiled set with --protoset",
		}
	}
	if err := o.Given.Reject("recordings", "no-stub-delays"); err != nil {
		return nil, nil, err
	}
	s, err := stub.Parse(o.Stub, text, given.Files())
	if err != nil {
		return nil, nil, &usage.Error{Err: err, Advice: "fix the file of --stub"}
	}
	return s, []*reflection.Set{given}, nil
}

// parseRecording returns a Stub that answers as in a recording, and the descriptors of its
// methods: given, unless that is nil, and those in the recording.
func parseRecording(o *Options, text []byte, given *reflection.Set, logger *slog.Logger) (*stub.Stub, []*reflection.Set, error) {
	rec, err := recording.Read(bytes.NewReader(text))
	if err != nil {
		return nil, nil, usage.Errorf("--stub %s: %w", o.Stub, err)
	}
	recorded, _ := reflection.FromFiles(context.Background(), rec.Files.Set()) // the error is that of the context
	sets := []*reflection.Set{recorded}
	if given != nil {
		sets = []*reflection.Set{given, recorded}
	}
	var files []*protoregistry.Files
	for _, set := range sets {
		files = append(files, set.Files())
	}
	s, leftOut, err := stub.FromRecording(rec, !o.NoStubDelays, files...)
	if schema, ok := errors.AsType[*stub.SchemaError](err); ok {
		return nil, nil, &usage.Error{Err: fmt.Errorf("--stub %s: %w", o.Stub, schema), Advice: "name their source with --proto, or a compiled set with --protoset"}
	}
	if err != nil {
		return nil, nil, usage.Errorf("--stub %s: %w", o.Stub, err)
	}
	if len(leftOut) > 0 {
		logger.Warn("recorded calls left out", slog.Int("calls", leftOut.Calls()), slog.String("reasons", leftOut.String()))
	}
	return s, sets, nil
}
