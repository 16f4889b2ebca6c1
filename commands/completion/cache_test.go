package completion

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

var someCandidates = []Candidate{{"pkg.Svc/Get", "Key → Value"}, {"pkg.Svc/Put", ""}}

func TestCache(t *testing.T) {
	t.Parallel()
	c := &Cache{Dir: filepath.Join(t.TempDir(), "in", "there"), MaxAge: time.Hour}
	if got, ok := c.Get("key"); ok {
		t.Errorf("Get before Put = %v", got)
	}
	c.Put("key", someCandidates)
	c.Put("none", nil)
	if got, ok := c.Get("key"); !ok || !slices.Equal(got, someCandidates) {
		t.Errorf("Get = %v, %v, want %v", got, ok, someCandidates)
	}
	if got, ok := c.Get("none"); !ok || len(got) != 0 {
		t.Errorf("Get = %v, %v, want no candidates", got, ok)
	}
	if got, ok := c.Get("other key"); ok {
		t.Errorf("Get of another key = %v", got)
	}
}

// files returns the files of a Cache.
func files(t *testing.T, c *Cache) []os.FileInfo {
	t.Helper()
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var infos []os.FileInfo
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		infos = append(infos, info)
	}
	return infos
}

func TestCacheIsPrivate(t *testing.T) {
	t.Parallel()
	c := &Cache{Dir: filepath.Join(t.TempDir(), "cache"), MaxAge: time.Hour}
	c.Put("Authorization: s3cret", someCandidates)
	all := files(t, c)
	if len(all) != 1 || strings.Contains(all[0].Name(), "s3cret") {
		t.Fatalf("files: %v, want one without the key", all)
	}
	text, err := os.ReadFile(filepath.Join(c.Dir, all[0].Name()))
	if err != nil || strings.Contains(string(text), "s3cret") {
		t.Errorf("the file has the key: %q, %v", text, err)
	}
	if runtime.GOOS == "windows" {
		return // Windows has no file modes
	}
	if mode := all[0].Mode(); mode != 0o600 {
		t.Errorf("the file's mode is %v, want 0600", mode)
	}
	if info, err := os.Stat(c.Dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory is %v, %v, want mode 0700", info, err)
	}
}

func TestCacheExpiry(t *testing.T) {
	t.Parallel()
	for _, age := range []time.Duration{2 * time.Hour, -2 * time.Hour} { // -2h: the clock was set back
		c := &Cache{Dir: t.TempDir(), MaxAge: time.Hour}
		c.Put("old", someCandidates)
		then := time.Now().Add(-age)
		if err := os.Chtimes(c.path("old"), then, then); err != nil {
			t.Fatal(err)
		}
		if got, ok := c.Get("old"); ok {
			t.Errorf("Get after %v = %v", age, got)
		}
		c.Put("new", someCandidates)
		if all := files(t, c); len(all) != 1 {
			t.Errorf("%d files, want only the new one", len(all))
		}
	}
}

// A Cache without a usable directory stores nothing.
func TestCacheWithoutDir(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", filepath.Join(file, "cache")} {
		c := &Cache{Dir: dir, MaxAge: time.Hour}
		c.Put("key", someCandidates)
		if got, ok := c.Get("key"); ok {
			t.Errorf("Get = %v in %q", got, dir)
		}
	}
}
