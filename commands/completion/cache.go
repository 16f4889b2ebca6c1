package completion

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Cache stores lists of candidates, each in a file that only its owner can read. Its
// methods don't report errors: an entry that can't be stored or read is missing. Several
// processes may use the same directory.
type Cache struct {
	Dir    string        // created by Put, which also removes old files there; empty: nothing is stored
	MaxAge time.Duration // of an entry, from its Put
}

// Get returns the candidates stored under key, which may be none. It returns false if
// there is no entry or an expired one.
func (c *Cache) Get(key string) ([]Candidate, bool) {
	if c.Dir == "" {
		return nil, false
	}
	info, err := os.Stat(c.path(key))
	if err != nil || c.expired(info) {
		return nil, false
	}
	text, err := os.ReadFile(c.path(key))
	if err != nil {
		return nil, false
	}
	var candidates []Candidate
	for line := range strings.Lines(string(text)) {
		name, description, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		candidates = append(candidates, Candidate{name, description})
	}
	return candidates, true
}

// Put stores candidates under key, except those that [Answer.WriteTo] leaves out. It
// removes all expired files in Dir.
func (c *Cache) Put(key string, candidates []Candidate) {
	if c.Dir == "" || os.MkdirAll(c.Dir, 0o700) != nil {
		return
	}
	entries, _ := os.ReadDir(c.Dir) // as many as can be read
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() && c.expired(info) {
			_ = os.Remove(filepath.Join(c.Dir, entry.Name()))
		}
	}
	file, err := os.CreateTemp(c.Dir, "new-*") // with mode 0600
	if err != nil {
		return
	}
	_, err = (&Answer{Candidates: candidates}).WriteTo(file)
	if cerr := file.Close(); err != nil || cerr != nil || os.Rename(file.Name(), c.path(key)) != nil {
		_ = os.Remove(file.Name())
	}
}

// path returns the path of an entry's file. Its name is a hash, because key may contain a
// secret.
func (c *Cache) path(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(c.Dir, hex.EncodeToString(sum[:]))
}

// expired reports whether a file is older than MaxAge, or from the future because the
// clock was set back.
func (c *Cache) expired(info os.FileInfo) bool {
	age := time.Since(info.ModTime())
	return age < -time.Second || age > c.MaxAge // a file system's clock may be slightly ahead
}
