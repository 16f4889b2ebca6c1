package reflection

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// maxProblems bounds the problems that a Set lists.
const maxProblems = 100

// builder builds a Set from files.
type builder struct {
	files    map[string]*encodedFile // by path
	aliases  map[string]string       // imported path → path of the file
	state    map[string]state
	imports  map[string]int // path → cost of importing it; see importCost
	memory   *account
	scratch  int // the part of memory for one decoded file at a time
	budget   budget
	set      *Set
	problems int   // all of them, also those that the Set doesn't list
	strict   error // the first problem that is an error for files that the user has chosen
}

// state is the progress of linking a file. Zero means not started.
type state int

const (
	linking state = iota + 1
	done
	failed
)

// newBuilder returns a builder without limits for memory and work, as is right for files
// that the user has chosen.
func newBuilder() *builder {
	return &builder{
		files:   make(map[string]*encodedFile),
		aliases: make(map[string]string),
		state:   make(map[string]state),
		imports: make(map[string]int),
		memory:  &account{limit: math.MaxInt},
		budget:  newBudget(math.MaxInt),
		set:     newSet(),
	}
}

// problem adds a problem to the Set.
func (b *builder) problem(format string, args ...any) {
	b.strict = cmp.Or(b.strict, fmt.Errorf(format, args...))
	b.incomplete(format, args...)
}

// incomplete adds a problem that isn't an error even for files that the user has chosen.
func (b *builder) incomplete(format string, args ...any) {
	b.problems++
	switch {
	case b.problems <= maxProblems:
		b.set.problems = append(b.set.problems, truncate(fmt.Sprintf(format, args...)))
	case b.problems == maxProblems+1:
		b.set.problems = append(b.set.problems, "further problems are omitted")
	}
}

// addRaw adds an encoded file and returns its contents, nil if the file can't be used or
// isn't new. The error is a limit that prevents further files from being added.
func (b *builder) addRaw(raw []byte) (*descriptorpb.FileDescriptorProto, error) {
	fdp, built, err := b.decode(raw)
	if fdp == nil || err != nil {
		return nil, err
	}
	f, err := makeFile(raw, fdp)
	if err != nil {
		b.problem("%.100q is left out: %v", f.path, err)
		return nil, nil //nolint:nilnil // no file, but others may follow
	}
	if prev := b.files[f.path]; prev != nil {
		if builtin(f.path) == nil && !(servedFile{encodedFile: prev}).equals(servedFile{encodedFile: f}) {
			b.problem("%q appears twice with different contents", f.path)
		}
		return nil, nil //nolint:nilnil // likewise
	}
	if err := b.memory.reserve(len(raw) + built); err != nil {
		return nil, leftOut(raw, err)
	}
	f.built = built
	b.files[f.path] = f
	return fdp, nil
}

// decode decodes a file if the limits allow it. It also returns an estimate of the memory
// for its descriptors. The results are like those of addRaw.
func (b *builder) decode(raw []byte) (fdp *descriptorpb.FileDescriptorProto, built int, err error) {
	w, err := weigh(fileType, raw, b.memory.left()+b.scratch)
	switch {
	case errors.Is(err, errMemory):
		return nil, 0, leftOut(raw, err)
	case errors.Is(err, errNesting):
		b.problem("%.100q is left out: %v", pathOf(raw), err)
		return nil, 0, nil
	case err != nil:
		b.problem("a file is not a valid FileDescriptorProto")
		return nil, 0, nil //nolint:nilerr // likewise
	}
	// Decoding, comparing and indexing the file take about a step for each byte.
	if err := b.budget.spend(w.fields*50 + w.decoded*3); err != nil {
		return nil, 0, leftOut(raw, err)
	}
	if more := w.decoded - b.scratch; more > 0 {
		if err := b.memory.reserve(more); err != nil {
			return nil, 0, leftOut(raw, err)
		}
		b.scratch = w.decoded
	}
	fdp = new(descriptorpb.FileDescriptorProto)
	if err := proto.Unmarshal(raw, fdp); err != nil {
		b.problem("a file is not a valid FileDescriptorProto")
		return nil, 0, nil //nolint:nilerr // likewise
	}
	if fdp.GetName() == "" {
		b.problem("a file without a name")
		return nil, 0, nil
	}
	names, _, err := b.budget.surveyFile(fdp)
	if err != nil {
		b.problem("%.100q is left out: %v", fdp.GetName(), err)
		return nil, 0, nil
	}
	return fdp, w.built + names, nil
}

// leftOut returns the error for a file that exceeds a limit.
func leftOut(raw []byte, err error) error {
	return fmt.Errorf("%.100q and all further files are left out: %w", pathOf(raw), err)
}

// add adds a file that is part of the program or chosen by the user.
func (b *builder) add(fdp *descriptorpb.FileDescriptorProto) {
	raw, err := proto.Marshal(fdp)
	if err == nil {
		_, err = b.addRaw(raw)
	}
	if err != nil {
		b.problem("%v", err)
	}
}

// build links the files. If services is nil, the Set has all services of the files.
func (b *builder) build(ctx context.Context, services []string) (*Set, error) {
	paths := make([]string, 0, len(b.files))
	for path := range b.files {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	maps.DeleteFunc(b.aliases, func(path, _ string) bool { return b.files[path] != nil })
	for _, path := range paths {
		b.visit(ctx, path)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("reflection: link: %w", err)
	}
	b.memory.release(b.scratch)
	b.set.bytes, b.set.maxEnums = b.memory.used, b.budget.maxEnums
	runtime.AddCleanup(b.set, (*account).close, b.memory)
	b.set.services = serviceNames(services)
	if services == nil {
		b.set.services = b.set.definedServices()
	}
	return b.set, nil
}

// visit links a file after its imports and returns the resulting state.
func (b *builder) visit(ctx context.Context, path string) state {
	if s := b.state[path]; s != 0 {
		return s
	}
	if b.files[path] == nil {
		fdp := builtinProto(path)
		if fdp == nil {
			return 0
		}
		if b.add(fdp); b.files[path] == nil {
			return failed
		}
	}
	b.state[path] = linking
	b.state[path] = b.link(ctx, path)
	return b.state[path]
}

// link links the file at path after its imports.
func (b *builder) link(ctx context.Context, path string) state {
	f := b.files[path]
	cyclic, missing := make(map[string]bool), make(map[string]bool)
	for i, dep := range f.imports {
		if to := b.aliases[dep]; to != "" {
			dep = to
		}
		if ctx.Err() != nil {
			return failed
		}
		switch s := b.visit(ctx, dep); {
		case s == done || i >= f.required: // imports for options may be missing
		case s == linking:
			cyclic[dep] = true
			b.problem("%q and %q import each other", path, dep)
		default:
			missing[dep] = true
			b.problem("%q imports %q, which is missing", path, dep)
		}
	}
	f, fd, err := b.describe(f, cyclic, missing)
	if err != nil {
		b.problem("%.100q is left out: %v", path, err)
		if errors.Is(err, errWork) || errors.Is(err, errImports) {
			b.set.limit = cmp.Or(b.set.limit, err)
		}
		return failed
	}
	b.set.order = append(b.set.order, f)
	b.set.addExtensions(fd)
	return done
}

// describe builds and registers the descriptor of a file without its cyclic imports. The
// resulting file has fewer or other imports than f if necessary.
func (b *builder) describe(f *encodedFile, cyclic, missing map[string]bool) (*encodedFile, protoreflect.FileDescriptor, error) {
	original := f.decode()
	fdp := b.withAliases(original)
	if len(cyclic) > 0 {
		fdp = withoutImports(fdp, cyclic)
	}
	_, work, err := b.budget.surveyFile(fdp)
	if err != nil {
		return nil, nil, err
	}
	if err := b.budget.spendImports(b.importCost(fdp)); err != nil {
		return nil, nil, err
	}
	cost := work + 3*f.built
	if err := b.budget.spend(cost); err != nil {
		return nil, nil, err
	}
	fdp, fd, err := b.newFile(fdp, missing)
	if fdp != original {
		var encodeErr error
		if f, encodeErr = encodeFile(fdp); encodeErr != nil {
			return nil, nil, encodeErr
		}
	}
	if err != nil { // the encoding is complete all the same: its readers may accept it
		fd, err = b.salvage(fdp, cost, err)
	}
	return f, fd, err
}

// newFile builds and registers a descriptor. It drops missing imports that the file doesn't
// need, as is common for files that only define options. If the file needs them, the
// unresolved types become placeholders. After an error the file is fdp.
func (b *builder) newFile(
	fdp *descriptorpb.FileDescriptorProto, missing map[string]bool,
) (*descriptorpb.FileDescriptorProto, protoreflect.FileDescriptor, error) {
	needed := fdp
	if len(missing) > 0 {
		needed = withoutImports(fdp, missing)
	}
	fd, err := b.register(needed, false)
	if err == nil {
		return needed, fd, nil
	}
	fd, looseErr := b.register(fdp, true)
	if looseErr == nil && len(missing) == 0 {
		b.problem("%q refers to symbols that it doesn't import: %v", fdp.GetName(), err)
	}
	return fdp, fd, looseErr
}

// register builds and registers a descriptor. A loose one has placeholders for unresolved
// types.
func (b *builder) register(fdp *descriptorpb.FileDescriptorProto, loose bool) (fd protoreflect.FileDescriptor, err error) {
	defer func() {
		if r := recover(); r != nil { // protodesc may panic on a malicious file
			err = fmt.Errorf("%v", r)
		}
	}()
	fd, err = (protodesc.FileOptions{AllowUnresolvable: loose}).New(fdp, b.set.registry)
	if err == nil {
		err = b.set.registry.RegisterFile(fd)
	}
	return fd, withoutPrefix(err)
}

// withoutPrefix removes the prefix of protobuf's errors, which varies so that nobody relies
// on it.
func withoutPrefix(err error) error {
	if err == nil {
		return nil
	}
	if text, ok := strings.CutPrefix(err.Error(), "proto:"); ok {
		return errors.New(strings.TrimSpace(text))
	}
	return err
}

// importCost returns the number of steps that protodesc needs to go through the imports of
// fdp's imports, and to follow the public ones, and records the cost of importing fdp.
// Without a bound, forty files that import each other in pairs would keep protodesc busy
// for days.
func (b *builder) importCost(fdp *descriptorpb.FileDescriptorProto) int {
	const public = 30 // a public import costs that many times as much as another one
	deps := fdp.GetDependency()
	total, own := 1, len(deps)
	for _, dep := range deps {
		total = min(total+1+b.imports[dep], maxImportSteps+1)
	}
	for _, i := range fdp.GetPublicDependency() {
		if int(i) < len(deps) && i >= 0 {
			own = min(own+public+b.imports[deps[i]], maxImportSteps+1)
		}
	}
	b.imports[fdp.GetName()] = own
	return total
}

// withAliases returns fdp, or a copy if it imports files by other paths than their own.
func (b *builder) withAliases(fdp *descriptorpb.FileDescriptorProto) *descriptorpb.FileDescriptorProto {
	isAlias := func(path string) bool { return b.aliases[path] != "" }
	if len(b.aliases) == 0 || !slices.ContainsFunc(slices.Concat(fdp.GetDependency(), fdp.GetOptionDependency()), isAlias) {
		return fdp
	}
	fdp = shallowCopy(fdp)
	fdp.Dependency = slices.Clone(fdp.GetDependency())
	fdp.OptionDependency = slices.Clone(fdp.GetOptionDependency())
	for _, list := range [][]string{fdp.Dependency, fdp.OptionDependency} {
		for i, dep := range list {
			if to := b.aliases[dep]; to != "" {
				list[i] = to
			}
		}
	}
	return fdp
}

// withoutImports returns a copy of fdp that doesn't import paths.
func withoutImports(fdp *descriptorpb.FileDescriptorProto, paths map[string]bool) *descriptorpb.FileDescriptorProto {
	fdp = shallowCopy(fdp)
	moved := make([]int32, len(fdp.GetDependency())) // old index → new
	var kept []string
	for i, dep := range fdp.GetDependency() {
		if moved[i] = -1; !paths[dep] {
			moved[i] = int32(len(kept)) //nolint:gosec // bounded by the size of a message
			kept = append(kept, dep)
		}
	}
	remap := func(list []int32) (out []int32) {
		for _, i := range list {
			if i >= 0 && int(i) < len(moved) && moved[i] >= 0 {
				out = append(out, moved[i])
			}
		}
		return out
	}
	fdp.Dependency = kept
	fdp.PublicDependency = remap(fdp.GetPublicDependency())
	fdp.WeakDependency = remap(fdp.GetWeakDependency())
	return fdp
}

// shallowCopy returns a copy that shares nested messages and lists with fdp.
func shallowCopy(fdp *descriptorpb.FileDescriptorProto) *descriptorpb.FileDescriptorProto {
	c := new(descriptorpb.FileDescriptorProto)
	m := c.ProtoReflect()
	fdp.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		m.Set(f, v)
		return true
	})
	m.SetUnknown(fdp.ProtoReflect().GetUnknown())
	return c
}
