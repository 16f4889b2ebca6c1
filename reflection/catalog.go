package reflection

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/reflection/types"
)

// Catalog finds symbols in several sources, such as a server and local files. The
// first source that has a symbol wins. A Catalog asks a source only when needed and for
// single symbols where possible. It caches the answers until Refresh.
//
// Each source is its own namespace: a symbol refers to symbols of its own source, even
// if another source defines the same names differently. A Catalog skips a failing
// source if another one has the symbol.
//
// All methods may be called concurrently.
type Catalog struct {
	sources []Finder

	mu     sync.Mutex // guards:
	caches []cache    // for each source
}

// cache holds the answers of one source.
type cache struct {
	all   *Set   // from Files; nil: not asked yet
	parts []*Set // from Find
}

// maxParts bounds cache.parts, because a peer may invent any number of symbols. Their
// memory is bounded by maxMemory.
const maxParts = 1000

// NewCatalog returns a Catalog of sources, in order of precedence.
func NewCatalog(sources ...Finder) *Catalog {
	return &Catalog{sources: sources, caches: make([]cache, len(sources))}
}

// Symbol is a descriptor, with the types to read and write its messages.
type Symbol struct {
	protoreflect.Descriptor

	catalog *Catalog
	set     *Set
}

// Incomplete returns the limit that has left out descriptors of the symbol's source, such as
// those of imports; nil if there are all.
func (s *Symbol) Incomplete() error { return s.set.limit }

// Problem returns the first problem with the descriptors of the symbol's source that
// mentions name, "" if there is none.
func (s *Symbol) Problem(name protoreflect.FullName) string { return s.set.problemWith(string(name)) }

// Types returns a resolver for the symbol's messages. It searches the symbol's own
// source, then (for messages such as those in a google.protobuf.Any) all sources, then
// the types linked into the program. The resolver may ask the sources until ctx ends.
func (s *Symbol) Types(ctx context.Context) TypeResolver {
	return slices.Concat(s.set.types, types.Resolvers{&catalogTypes{
		find:  func(name protoreflect.FullName) (*Symbol, error) { return s.catalog.Find(ctx, name) },
		found: make(map[protoreflect.FullName]protoreflect.MessageType),
	}})
}

// Services returns the sorted full names of the services of all sources. If all
// sources fail, it returns the error of the first.
func (c *Catalog) Services(ctx context.Context) ([]string, error) {
	var all []string
	var firstErr error
	answered := false
	for _, source := range c.sources {
		names, err := source.Services(ctx)
		switch {
		case err == nil:
			answered = true
		case firstErr == nil:
			firstErr = err
		}
		all = append(all, names...)
	}
	if !answered {
		return nil, firstErr
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// Find returns the symbol with that full name. If no source has it, the error is that
// of the first source that failed, or else an [ErrNotFound], which may have a reason.
func (c *Catalog) Find(ctx context.Context, name protoreflect.FullName) (*Symbol, error) {
	if len(name) > maxName || !name.IsValid() {
		return nil, ErrNotFound
	}
	var firstErr error
	notFound := ErrNotFound
	for i, source := range c.sources {
		if s := c.cached(i, name); s != nil {
			return s, nil
		}
		set, err := source.Find(ctx, name)
		if err == nil {
			c.store(i, set)
			if s := c.symbol(set, name); s != nil {
				return s, nil
			}
		}
		switch {
		case err == nil:
		case !errors.Is(err, ErrNotFound):
			firstErr = cmp.Or(firstErr, err)
		case notFound == ErrNotFound: //nolint:errorlint // without a reason
			notFound = err
		}
	}
	return nil, cmp.Or(firstErr, notFound)
}

// All returns the symbols of that kind by their full names. It asks each source for all
// descriptors at once, so that its limits hold for all together. The error is the limit that
// has left out descriptors, if any. A source that fails has no symbols.
func (c *Catalog) All(ctx context.Context, kind Kind) (map[protoreflect.FullName]*Symbol, error) {
	sets, _ := c.allSets(ctx)
	all := make(map[protoreflect.FullName]*Symbol)
	var limit error
	for _, set := range sets {
		if set != nil {
			limit = cmp.Or(limit, set.limit)
		}
		set.each(kind, func(d protoreflect.Descriptor) {
			if all[d.FullName()] == nil {
				all[d.FullName()] = &Symbol{d, c, set}
			}
		})
	}
	return all, limit
}

// Refresh empties the cache.
func (c *Catalog) Refresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.caches)
}

// symbol returns a symbol of set, nil if set doesn't have it.
func (c *Catalog) symbol(set *Set, name protoreflect.FullName) *Symbol {
	d, err := set.Files().FindDescriptorByName(name)
	if err != nil {
		return nil
	}
	return &Symbol{d, c, set}
}

// cached returns a symbol of source i from the cache, or nil.
func (c *Catalog) cached(i int, name protoreflect.FullName) *Symbol {
	c.mu.Lock()
	all, parts := c.caches[i].all, slices.Clone(c.caches[i].parts)
	c.mu.Unlock()
	for _, set := range append([]*Set{all}, parts...) {
		if s := c.symbol(set, name); s != nil {
			return s
		}
	}
	return nil
}

func (c *Catalog) store(i int, set *Set) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := &c.caches[i]
	if slices.Contains(k.parts, set) {
		return
	}
	k.parts = append(k.parts, set)
	bytes := 0
	for n, part := range slices.Backward(k.parts) {
		if bytes += part.bytes; n < len(k.parts)-1 && bytes > maxMemory || len(k.parts)-n > maxParts {
			k.parts = slices.Delete(k.parts, 0, n+1) // the oldest
			break
		}
	}
}

// allSets returns the Sets of the sources that answer, and the error of the first that
// fails or exceeds a limit.
func (c *Catalog) allSets(ctx context.Context) ([]*Set, error) {
	var sets []*Set
	var firstErr error
	for i, source := range c.sources {
		c.mu.Lock()
		set := c.caches[i].all
		c.mu.Unlock()
		if set == nil {
			var err error
			if set, err = source.Files(ctx); err != nil {
				if firstErr == nil {
					firstErr = err
				}
				continue
			}
			c.mu.Lock()
			c.caches[i].all = set
			c.mu.Unlock()
		}
		if firstErr == nil && set != nil {
			firstErr = set.limit
		}
		sets = append(sets, set)
	}
	return sets, firstErr
}
