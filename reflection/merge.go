package reflection

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// maxWarned bounds the warnings that a Merged remembers in order not to repeat them.
const maxWarned = 1000

// Merged is the descriptors of several upstreams, in order. Its methods may be
// called concurrently; a query sees each Set whole, before or after it changes.
//
// Upstreams may disagree. Files with the same path and the same contents are one.
// Of two with the same path and different contents the later one is served under
// another path, upstream-2/common.proto for the second upstream's common.proto,
// and those that import it, import that. A message, enum or service that two
// upstreams define differently is found in the first of them, with a warning.
// The files of protobuf and gRPC themselves (google/protobuf/, google/rpc/,
// grpc/) are those that are linked into the program. [Merged.Fill] adds files that
// no upstream reports.
type Merged struct {
	logger *slog.Logger
	state  atomic.Pointer[snapshot]

	mu     sync.Mutex // guards changes of state, and:
	warned map[string]bool
}

// NewMerged returns the Merged of n upstreams, all empty yet. It logs a warning, once,
// for whatever a Set left out and wherever two Sets disagree; a nil logger discards.
func NewMerged(n int, logger *slog.Logger) *Merged {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	m := &Merged{logger: logger, warned: make(map[string]bool)}
	m.state.Store(m.merge(make([]*Set, n+1))) // the last one fills
	return m
}

// Set replaces the descriptors of upstream i, which counts from 0. A nil set
// leaves the upstream with none.
func (m *Merged) Set(i int, set *Set) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if set != nil {
		for _, p := range set.problems {
			if m.first(fmt.Sprint(i, p)) {
				m.logger.Warn("descriptors left out", slog.Int("upstream", i+1), slog.String("reason", p))
			}
		}
	}
	m.replace(i, set)
}

// replace replaces the i-th Set. The caller holds mu.
func (m *Merged) replace(i int, set *Set) {
	sets := slices.Clone(m.state.Load().sets)
	sets[i] = set
	m.state.Store(m.merge(sets))
}

// services returns the full names of the services of all Sets, sorted.
func (m *Merged) services() []string {
	var all []string
	for _, set := range m.state.Load().sets {
		all = append(all, set.Services()...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// ServicesOf returns the full names of the services of upstream i, which counts from
// 0, sorted.
func (m *Merged) ServicesOf(i int) []string {
	return m.state.Load().sets[i].Services()
}

// first reports whether a warning hasn't been given yet. The caller holds mu.
func (m *Merged) first(warning string) bool {
	if m.warned[warning] || len(m.warned) >= maxWarned {
		return false
	}
	m.warned[warning] = true
	return true
}

// snapshot is the files served at one time.
type snapshot struct {
	sets  []*Set              // of the upstreams, then the one that fills
	paths []map[string]string // for each Set: path → path it is served under, where they differ
	files map[string]*served  // by the path it is served under

	variants map[string][]string // path → the paths that files of that path are served under
}

// served is one file as it is served.
type served struct {
	fdp *descriptorpb.FileDescriptorProto
	raw []byte
}

// merge finds the path for each file of each Set. Imported files come before their
// importers, so that a file whose import is renamed differs from its namesake.
func (m *Merged) merge(sets []*Set) *snapshot {
	s := &snapshot{sets: sets, files: make(map[string]*served), variants: make(map[string][]string)}
	for i, set := range sets {
		paths := make(map[string]string)
		s.paths = append(s.paths, paths)
		if set == nil {
			continue
		}
		for _, fdp := range set.order {
			m.place(s, i, fdp, paths)
		}
	}
	return s
}

func (m *Merged) place(s *snapshot, i int, fdp *descriptorpb.FileDescriptorProto, paths map[string]string) {
	path := fdp.GetName()
	if fd := builtin(path); fd != nil && covers(fd, fdp) {
		return
	}
	if len(paths) > 0 {
		fdp = rename(fdp, path, paths)
	}
	for _, variant := range s.variants[path] {
		if sameFile(s.files[variant].fdp, rename(fdp, variant, nil)) {
			if variant != path {
				paths[path] = variant
			}
			return
		}
	}
	if standIn := s.standIn(i, path, fdp); standIn != "" {
		if standIn != path {
			paths[path] = standIn
		}
		return
	}
	to := path
	for s.files[to] != nil || builtin(to) != nil {
		to = s.folder(i) + to
	}
	if to != path {
		paths[path] = to
		fdp = rename(fdp, to, nil)
	}
	raw, err := proto.Marshal(fdp)
	if err != nil {
		if m.first(fmt.Sprint(i, path, err)) {
			m.logger.Warn("descriptors left out", slog.Int("upstream", i+1), slog.Any("err", err))
		}
		return
	}
	s.files[to] = &served{fdp, raw}
	s.variants[path] = append(s.variants[path], to)
	m.warnOfSymbols(s, i, path)
}

// warnOfSymbols warns when an earlier upstream defines what a file does.
func (m *Merged) warnOfSymbols(s *snapshot, i int, path string) {
	names := s.sets[i].symbols(path)
	for j, set := range s.sets[:i] {
		var both []string
		for _, name := range names {
			if _, err := set.Files().FindDescriptorByName(name); err == nil {
				both = append(both, string(name))
			}
		}
		const few = 5
		symbols := strings.Join(both[:min(few, len(both))], " ")
		if len(both) == 0 || !m.first(fmt.Sprint(i, j, path, symbols)) {
			continue
		}
		attrs := []any{slog.String("file", path), slog.Int("count", len(both)), slog.String("symbols", symbols)}
		if s.fills(i) {
			m.logger.Warn("a file defines symbols that an upstream has too, the upstream wins",
				append([]any{slog.Int("upstream", j+1)}, attrs...)...)
		} else {
			m.logger.Warn("two upstreams define the same symbols, the first wins",
				append([]any{slog.Int("upstream", i+1), slog.Int("first", j+1)}, attrs...)...)
		}
	}
}

// file returns a file by the path it is served under.
func (s *snapshot) file(path string) (fdp *descriptorpb.FileDescriptorProto, raw []byte) {
	if f := s.files[path]; f != nil {
		return f.fdp, f.raw
	}
	if fd := linked(path); fd != nil {
		fdp = protodesc.ToFileDescriptorProto(fd)
		raw, _ = proto.Marshal(fdp) // what is linked in can be marshaled
		return fdp, raw
	}
	return nil, nil
}

// servedPath returns the path that a file of upstream i is served under.
func (s *snapshot) servedPath(i int, fd protoreflect.FileDescriptor) string {
	if to := s.paths[i][fd.Path()]; to != "" {
		return to
	}
	return fd.Path()
}

// pathOfSymbol returns the file that defines a symbol, "" if none does.
func (s *snapshot) pathOfSymbol(name protoreflect.FullName) string {
	if path := builtinPath(name); path != "" {
		return path
	}
	for i, set := range s.sets {
		if d, err := set.Files().FindDescriptorByName(name); err == nil {
			return s.servedPath(i, d.ParentFile())
		}
	}
	if d, err := protoregistry.GlobalFiles.FindDescriptorByName(name); err == nil {
		return d.ParentFile().Path()
	}
	return ""
}

// pathOfExtension returns the file that defines an extension, "" if none does.
func (s *snapshot) pathOfExtension(message protoreflect.FullName, number protoreflect.FieldNumber) string {
	for i, set := range s.sets {
		if xt, err := set.ownExtensions().FindExtensionByNumber(message, number); err == nil {
			return s.servedPath(i, xt.TypeDescriptor().ParentFile())
		}
	}
	if xt, err := protoregistry.GlobalTypes.FindExtensionByNumber(message, number); err == nil {
		return xt.TypeDescriptor().ParentFile().Path()
	}
	return ""
}

// extensionNumbers returns the numbers of all extensions of message, in order.
func (s *snapshot) extensionNumbers(message protoreflect.FullName) []int32 {
	var numbers []int32
	add := func(xt protoreflect.ExtensionType) bool {
		numbers = append(numbers, int32(xt.TypeDescriptor().Number()))
		return true
	}
	for _, set := range s.sets {
		set.ownExtensions().RangeExtensionsByMessage(message, add)
	}
	protoregistry.GlobalTypes.RangeExtensionsByMessage(message, add)
	slices.Sort(numbers)
	return slices.Compact(numbers)
}
