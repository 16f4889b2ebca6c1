package reflection

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// maxDuplicates bounds the search for symbols that several upstreams define.
const maxDuplicates = 2_000_000

// maxWarned bounds the warnings that a Merged remembers to avoid repeating them.
const maxWarned = 1000

// Merged holds the descriptors of several upstreams, in order of precedence. Its methods
// may be called concurrently; a query sees each Set entirely before or entirely after a
// change.
//
// Upstreams may disagree. Files with the same path and contents are served once. If the
// contents differ, the later file is served under another path, such as
// upstream-2/common.proto for the second upstream's common.proto, and its importers
// import that path. If two upstreams define a message, enum or service differently, the
// first definition wins, with a warning. The files of protobuf and gRPC
// (google/protobuf/, google/rpc/, grpc/) are those linked into the program.
// [Merged.SetFallback] adds files that no upstream reports.
type Merged struct {
	logger *slog.Logger
	state  atomic.Pointer[snapshot]

	mu     sync.Mutex // guards changes of state, and:
	warned map[string]bool
}

// NewMerged returns a Merged of n upstreams without descriptors. It logs one warning for
// each problem of a Set and each conflict between two Sets; a nil logger discards them.
func NewMerged(n int, logger *slog.Logger) *Merged {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	m := &Merged{logger: logger, warned: make(map[string]bool)}
	m.state.Store(m.merge(make([]*Set, n+1))) // the last is the fallback
	return m
}

// Set replaces the descriptors of upstream i, counted from 0. A nil set removes them.
func (m *Merged) Set(i int, set *Set) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.warnProblems(set, slog.Int("upstream", i+1))
	m.replace(i, set)
}

// warnProblems logs the problems of a Set, which may be nil. The caller holds mu.
func (m *Merged) warnProblems(set *Set, source slog.Attr) {
	if set == nil {
		return
	}
	for _, p := range set.problems {
		if m.firstTime(fmt.Sprint(source, p)) {
			m.logger.Warn("descriptors left out", source, slog.String("reason", p))
		}
	}
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

// ServicesOf returns the sorted full names of the services of upstream i, counted from 0.
func (m *Merged) ServicesOf(i int) []string {
	return m.state.Load().sets[i].Services()
}

// firstTime reports whether a warning is new, and remembers it. The caller holds mu.
func (m *Merged) firstTime(warning string) bool {
	if m.warned[warning] || len(m.warned) >= maxWarned {
		return false
	}
	m.warned[warning] = true
	return true
}

// snapshot is an immutable state of a Merged.
type snapshot struct {
	sets  []*Set                // of the upstreams, then the fallback
	paths []map[string]string   // for each Set: path → served path, if different
	files map[string]servedFile // by served path

	variants map[string][]string // path → served paths of all files with that path

	duplicates int // lookups by warnDuplicates
}

// merge finds the served path for each file of each Set. It visits imports before their
// importers, so that a file whose import is renamed differs from others of its path.
func (m *Merged) merge(sets []*Set) *snapshot {
	s := &snapshot{sets: sets, files: make(map[string]servedFile), variants: make(map[string][]string)}
	for i, set := range sets {
		paths := make(map[string]string)
		s.paths = append(s.paths, paths)
		if set == nil {
			continue
		}
		for _, f := range set.order {
			m.addFile(s, i, servedFile{f, f.path, paths})
		}
	}
	return s
}

// addFile adds a file of the i-th Set to s, unless an equivalent file is served already.
// It records the served path in f.renamed if it differs from the file's own.
func (m *Merged) addFile(s *snapshot, i int, f servedFile) {
	path := f.path
	fd, err := s.sets[i].registry.FindFileByPath(path)
	if err != nil {
		return // impossible
	}
	if linked := builtin(path); linked != nil && covers(linked, fd) {
		return
	}
	for _, variant := range s.variants[path] {
		if s.files[variant].equals(f) {
			if variant != path {
				f.renamed[path] = variant
			}
			return
		}
	}
	if other := s.replacement(i, fd); other != "" {
		if other != path {
			f.renamed[path] = other
		}
		return
	}
	for s.files[f.path].encodedFile != nil || builtin(f.path) != nil {
		f.path = s.prefix(i) + f.path
	}
	if f.path != path {
		f.renamed[path] = f.path
	}
	s.files[f.path] = f
	s.variants[path] = append(s.variants[path], f.path)
	m.warnDuplicates(s, i, path)
}

// warnDuplicates warns if an earlier upstream defines symbols of a file too. It looks up at
// most maxDuplicates symbols for one snapshot.
func (m *Merged) warnDuplicates(s *snapshot, i int, path string) {
	names := s.sets[i].symbols(path)
	for j, set := range s.sets[:i] {
		if set == nil {
			continue
		}
		if s.duplicates += len(names) * (1 + set.maxEnums); s.duplicates > maxDuplicates {
			return
		}
		var shared []string
		for _, name := range names {
			if _, err := set.Files().FindDescriptorByName(name); err == nil {
				shared = append(shared, string(name))
			}
		}
		const maxLogged = 5
		symbols := strings.Join(shared[:min(maxLogged, len(shared))], " ")
		if len(shared) == 0 || !m.firstTime(fmt.Sprint(i, j, path, symbols)) {
			continue
		}
		attrs := []any{slog.String("file", path), slog.Int("count", len(shared)), slog.String("symbols", symbols)}
		if s.isFallback(i) {
			m.logger.Warn("a file and an upstream define the same symbols, the upstream wins",
				append([]any{slog.Int("upstream", j+1)}, attrs...)...)
		} else {
			m.logger.Warn("two upstreams define the same symbols, the first wins",
				append([]any{slog.Int("upstream", i+1), slog.Int("first", j+1)}, attrs...)...)
		}
	}
}

// file returns a file by its served path; it has no file if there is none.
func (s *snapshot) file(path string) servedFile {
	if f := s.files[path]; f.encodedFile != nil {
		return f
	}
	if fd := linked(path); fd != nil {
		f, _ := encodeFile(protodesc.ToFileDescriptorProto(fd)) // can't fail for a linked file
		return servedFile{f, path, nil}
	}
	return servedFile{}
}

// servedPath returns the served path of a file of the i-th Set.
func (s *snapshot) servedPath(i int, fd protoreflect.FileDescriptor) string {
	if to := s.paths[i][fd.Path()]; to != "" {
		return to
	}
	return fd.Path()
}

// pathOfSymbol returns the served path of the file that defines a symbol, "" if none does.
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

// pathOfExtension returns the served path of the file that defines an extension, "" if
// none does.
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

// extensionNumbers returns the sorted numbers of all extensions of message.
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
