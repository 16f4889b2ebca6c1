package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel/trace"
)

const (
	// recordQueue limits the memory of the events that wait for the file, in bytes.
	recordQueue = 128 << 20

	// shortMessage is how much of a message a recording also has in JSON, in bytes.
	shortMessage = 4 << 10

	// The lines of a recording that wait for the verdict of a filter, in bytes.
	maxRecordHeld    = 16 << 20 // of a call
	maxAllRecordHeld = 64 << 20
)

// recordFlags returns the flags for a recording. The file has no environment variable: two
// processes would share it.
func (o *Options) recordFlags() []cli.Flag {
	return []cli.Flag{
		&cli.PathFlag{Name: "record", Usage: "record each RPC in `FILE`; FILE.pcapng is for Wireshark", Destination: &o.Record},
		usage.String(&o.RecordFormat, "record-format", "record as `FORMAT`: json or pcapng (default: as the name of the file says)", ""),
		usage.Size(&o.RecordMax, "record-max", "begin another file at `SIZE`, and rename the old one to FILE.1; 0 for no limit", 1<<30),
		usage.Int(&o.RecordKeep, "record-keep", "keep `N` older files", 5),
		usage.Bool(&o.RecordSecrets, "record-secrets", "record credentials and the message fields declared as secret, too"),
	}
}

// records reports whether the flags ask for a recording.
func (o *Options) records() bool { return o.Record != "" }

// checkRecord checks the flags for the recording.
func (o *Options) checkRecord() error {
	if !o.records() {
		return o.Given.Reject("--record", "record-format", "record-max", "record-keep", "record-secrets")
	}
	if o.RecordFormat == "" {
		o.RecordFormat = "json"
		switch strings.ToLower(filepath.Ext(o.Record)) {
		case ".pcapng":
			o.RecordFormat = "pcapng"
		case ".pcap", ".cap":
			return &usage.Error{Err: fmt.Errorf("--record %s: the format for Wireshark is pcapng", o.Record), Advice: "name the file FILE.pcapng, or add --record-format"}
		}
	}
	if err := usage.OneOf("record-format", o.RecordFormat, "json", "pcapng"); err != nil {
		return err
	}
	if o.RecordKeep < 0 {
		return usage.Errorf("--record-keep %d: want 0 or more", o.RecordKeep)
	}
	if o.RecordSecrets && len(o.Redact) > 0 {
		return usage.Errorf("both --record-secrets and --redact")
	}
	return nil
}

// newRecorder returns a recorder with a follower, which has no destination yet, and the output
// of the Tracer for it, without a Body.
func (o *Options) newRecorder(out *Output, f filter, logger *slog.Logger) (*recorder, *trace.Output) {
	ms := o.newMessages(out, f)
	ms.full, ms.record, ms.short, ms.keepSecrets = false, true, shortMessage, o.RecordSecrets
	r := &recorder{jsonRenderer: jsonRenderer{ms, out.Secrets}, version: out.Version, logger: logger, seen: map[protoreflect.FileDescriptor]bool{}}
	if o.RecordSecrets {
		r.secrets = nil
	}
	ms.schema.found = r.found
	r.follower = &follower{
		render: r, messages: ms, filter: f, calls: map[uint64]*call{}, stages: newStages(),
		maxHeld: maxRecordHeld, maxAllHeld: maxAllRecordHeld, end: r.end, patience: diskPatience, closed: make(chan struct{}), stuck: func() {},
	}
	return r, &trace.Output{Sink: r.follower, Queue: recordQueue, IsSecret: o.isSecret(out), Secrets: o.RecordSecrets}
}

// newFileRecorder returns the follower that records in the file, and its output of the
// Tracer.
func (o *Options) newFileRecorder(ctx context.Context, out *Output, f filter) (*follower, *trace.Output, error) {
	r, output := o.newRecorder(out, f, out.Logger)
	ms := r.messages
	ms.show, output.Body = true, -1
	if o.RecordSecrets {
		out.Logger.Warn("credentials and secret fields are recorded", slog.String("file", o.Record))
	}
	opts := &recording.FileOptions{Max: o.RecordMax, Keep: o.RecordKeep, Head: r.head, Logger: out.Logger}
	if o.RecordFormat == "pcapng" {
		ms.short, opts.Pcapng = 0, recording.NewPcapng(out.Version)
	}
	file, err := o.createRecord(ctx, out, opts)
	if err != nil {
		return nil, nil, err
	}
	r.file, r.follower.out = file, file
	r.follower.stuck = func() { out.Logger.Warn("the end of the recording is missing: it could not be written in time") }
	if file.IsPipe() {
		r.follower.patience = readerPatience
	}
	return r.follower, output, nil
}

// createRecord creates the file.
func (o *Options) createRecord(ctx context.Context, out *Output, opts *recording.FileOptions) (file *recording.File, err error) {
	switch {
	case o.Record != "-":
		file, err = recording.Create(ctx, o.Record, opts)
	case out.Stdout == nil:
		return nil, &usage.Error{
			Err:    errors.New("--record -: standard output has the results of this command"),
			Advice: "give a file, or a named pipe such as >(wireshark -k -i -) in bash",
		}
	default:
		file, err = recording.NewFile(out.Stdout, opts)
	}
	if ue, ok := errors.AsType[*usage.Error](err); ok {
		return nil, &usage.Error{Err: fmt.Errorf("--record: %w", ue.Err), Advice: ue.Advice}
	}
	if err != nil {
		return nil, usage.Errorf("--record: %w", err)
	}
	return file, nil
}

// recorder renders events as the lines of a recording.
type recorder struct {
	jsonRenderer
	follower *follower
	file     *recording.File                      // nil: a live recording
	files    recording.Files                      // the schema so far
	seen     map[protoreflect.FileDescriptor]bool // … and its descriptors: converting them takes time
	version  string                               // of wstun
	logger   *slog.Logger
	scratch  []byte // the latest line
	warned   bool   // of a message without a schema
}

func (r *recorder) event(e *trace.Event, _ *call, t *text) []byte {
	if !r.messages.show && (e.Type == trace.ClientMessage || e.Type == trace.ServerMessage) {
		t = nil // it was formatted for a filter
	}
	l := r.line(e, t)
	for _, f := range e.Metadata {
		if r.messages.keepSecrets && f.Sensitive && f.Name != recording.DetailsKey && !slices.Contains(l.Sensitive, f.Name) {
			l.Sensitive = append(l.Sensitive, f.Name)
		}
	}
	if t != nil {
		l.Redacted = t.redacted
	}
	switch {
	case t == nil:
	case l.Status != nil:
		l.Status.Data = t.data
		if l.Status.Message != e.Message {
			l.Status.Data = withMessage(t.data, l.Status.Message)
		}
	case l.Size == nil: // details without a status
		l.Redacted = nil
	default:
		r.warn(e, t)
		l.Data, l.Truncated = t.data, t.truncated
		if len(t.data) > r.messages.short { // it was formatted for a filter
			l.Message, l.Unknown, l.Note = nil, 0, ""
		}
		if len(l.Message) == 0 {
			l.Schema = nil
		}
	}
	const maxScratch = 2 << 20
	if cap(r.scratch) > maxScratch {
		r.scratch = nil
	}
	r.scratch = l.Append(r.scratch[:0])
	return r.scratch // the follower copies it
}

// warn warns of the first message whose secret fields can't be found.
func (r *recorder) warn(e *trace.Event, t *text) {
	if r.warned || t.schema || len(t.data) == 0 || r.messages.keepSecrets || trace.IsInfrastructure(e.Method) {
		return
	}
	r.warned = true
	r.logger.Warn("recorded without a schema, so with secret fields", slog.String("method", e.Method),
		slog.String("hint", "the server has no reflection? name the source with --proto, or leave such messages out with --redact"))
}

// withMessage returns an encoded google.rpc.Status with another message.
func withMessage(data []byte, text string) []byte {
	s := &spb.Status{}
	if len(data) == 0 || proto.Unmarshal(data, s) != nil {
		return nil
	}
	s.Message = text
	data, _ = proto.Marshal(s) // it has been decoded
	return data
}

func (*recorder) open(*call, time.Time, bool) []byte { return nil }
func (*recorder) summary(*summary) []byte            { return nil }

// head returns the lines at the beginning of a file.
func (r *recorder) head(continued bool) []byte {
	l := recording.NewHeader(r.version, time.Now())
	l.Secrets, l.Continued = r.messages.keepSecrets, continued
	b := l.Append(nil)
	if set := r.files.Set(); len(set.GetFile()) > 0 {
		b = append(b, schemaLine(set)...)
	}
	return b
}

func schemaLine(set *descriptorpb.FileDescriptorSet) []byte {
	files, err := proto.MarshalOptions{Deterministic: true}.Marshal(set)
	if err != nil {
		return nil // a server's name that isn't UTF-8
	}
	return recording.NewSchema(files, time.Now()).Append(nil)
}

// found records a file and its imports, unless they have been recorded.
func (r *recorder) found(file protoreflect.FileDescriptor) {
	const most = 1000
	if len(r.seen) >= most { // the server describes them again and again
		clear(r.seen)
	}
	set := &descriptorpb.FileDescriptorSet{}
	var add func(protoreflect.FileDescriptor)
	add = func(file protoreflect.FileDescriptor) {
		if file == nil || file.IsPlaceholder() || r.seen[file] {
			return
		}
		r.seen[file] = true
		for i := range file.Imports().Len() {
			add(file.Imports().Get(i).FileDescriptor)
		}
		if fd := protodesc.ToFileDescriptorProto(file); r.files.Add(fd) {
			set.File = append(set.File, fd)
		}
	}
	add(file)
	if len(set.GetFile()) > 0 {
		r.follower.write(schemaLine(set))
	}
}

// end closes the file, if there is one.
func (r *recorder) end(lost trace.Losses) {
	if r.file != nil {
		r.file.Close()
	}
	if lost != (trace.Losses{}) {
		r.logger.Warn("the recording is incomplete", slog.String("lost", losses(lost)))
	}
}
