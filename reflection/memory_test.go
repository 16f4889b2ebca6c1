package reflection

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// testMemory is a Memory of limit bytes.
type testMemory struct {
	limit int

	mu         sync.Mutex // guards:
	used, most int
}

func (m *testMemory) Reserve(bytes int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if bytes < 0 || bytes > m.limit-m.used {
		return false
	}
	m.used += bytes
	m.most = max(m.most, m.used)
	return true
}

func (m *testMemory) Release(bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used -= bytes
}

func (m *testMemory) inUse() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

func TestServerMemory(t *testing.T) {
	t.Parallel()
	var files [][]byte
	var services []string
	for i := range 8 {
		path := fmt.Sprintf("f%d.proto", i)
		files = append(files, encode(t, withFields(path, 3000)))
		services = append(services, fmt.Sprintf("f%d.S", i))
	}
	list := append([]string{}, services...)
	l := &scriptedServer{answer: func(r *request) *response {
		if r.GetListServices() != "" {
			return listOf(list...)
		}
		return filesOf(files[r.GetFileContainingSymbol()[1]-'0'])
	}}
	m := &testMemory{limit: 8 << 20}
	s := FromServer(l.serve(t), nil)
	s.SetMemory(m)
	set, err := s.Files(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	checkSet(t, set, services[:4], []string{"are left out: the descriptors of all servers together need more memory than allowed"})
	if used := m.inUse(); used != set.bytes || used < 4*3000*400 || m.most > m.limit {
		t.Errorf("reserved %d bytes, at most %d, the Set has %d", used, m.most, set.bytes)
	}
	runtime.KeepAlive(set) // not longer
	waitReleased(t, m)
}

// waitReleased collects garbage until all memory is released.
func waitReleased(t *testing.T, m *testMemory) {
	t.Helper()
	ctx := testContext(t)
	for m.inUse() > 0 {
		if ctx.Err() != nil {
			t.Fatalf("%d bytes are still reserved", m.inUse())
		}
		runtime.GC() // cleanups run later, in other goroutines
		runtime.Gosched()
	}
}

// TestServerMemoryAfterErrors: a fetch that fails releases its memory at once.
func TestServerMemoryAfterErrors(t *testing.T) {
	t.Parallel()
	n := 0
	l := &scriptedServer{answer: func(r *request) *response {
		if n++; n == 1 {
			return listOf("a.S", "b.S")
		}
		return filesOf(encode(t, withFields("a.proto", 1000)))
	}}
	m := &testMemory{limit: 1 << 30}
	s := FromServer(l.serve(t), nil)
	s.SetMemory(m)
	if _, err := s.Find(testContext(t), "c.S"); err == nil {
		t.Error("found a symbol that doesn't exist")
	}
	waitReleased(t, m)
	if m.most == 0 {
		t.Error("no memory was reserved")
	}
}

// TestFileBomb: the memory for a file is checked before it is decoded.
func TestFileBomb(t *testing.T) {
	t.Parallel()
	m := &testMemory{limit: 1 << 30}
	f := newFetch(nil, "v1", m)
	set := describeFiles(t, f, emptyEntries(t, "bomb.proto", 4, 1_000_000), encode(t, file("good.proto")))
	checkSet(t, set, nil, []string{`"bomb.proto" and all further files are left out: the descriptors of this server need more than 256 MiB`})
	if m.most != 0 {
		t.Errorf("reserved %d bytes for it", m.most)
	}
	_, err := NewCatalog(FromSet(set)).Resolve(t.Context(), Any, "good.M")
	if err == nil || !strings.Contains(err.Error(), "need more than 256 MiB") {
		t.Errorf("Resolve = %v, want the limit", err)
	}
}

// TestCatalogMemory: a Catalog drops its oldest Sets.
func TestCatalogMemory(t *testing.T) {
	t.Parallel()
	c := NewCatalog(FromSet(nil))
	for i := range 5 {
		c.store(0, &Set{bytes: maxMemory / 2, problems: []string{fmt.Sprint(i)}})
	}
	c.store(0, &Set{bytes: 0})
	var got []string
	for _, set := range c.caches[0].parts {
		got = append(got, set.problems...)
	}
	if want := "3 4"; strings.Join(got, " ") != want {
		t.Errorf("cached Sets = %q, want %q", got, want)
	}
}
