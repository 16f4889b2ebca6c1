package admin

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// runtimeFolder makes a folder the only one with sockets, and returns it.
func runtimeFolder(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "wstun")
	t.Setenv(FolderVariable, dir)
	return dir
}

func TestListen(t *testing.T) {
	folder := runtimeFolder(t)
	first, err := Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := Listen(t.Context()) // as of a process with the same ID in another container
	if err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(os.Getpid())
	for l, name := range map[net.Listener]string{first: pid + ".sock", second: pid + "-1.sock"} {
		path := filepath.Join(folder, name)
		info, err := os.Stat(path)
		if err != nil || l.Addr().String() != path {
			t.Fatalf("%v, %v, want %s", l.Addr(), err, path)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("mode %v", mode)
		}
	}
	if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	found := 0
	for _, path := range sockets(t.Context(), os.Getpid()) {
		if filepath.Dir(path) == folder {
			found++
		}
	}
	if found != 2 {
		t.Errorf("%d sockets found, want 2", found)
	}
	_ = first.Close()
	_ = second.Close()
	if paths := socketsIn(folder); len(paths) > 0 {
		t.Errorf("left: %v", paths)
	}
}

func TestAnswering(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	listen := func(name string) *net.UnixListener {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, name)})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	listen("a")
	_ = listen("b").Close()
	if got, want := answering(t.Context(), filepath.Join(dir, "*")), []string{filepath.Join(dir, "a")}; !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}

// Sockets that killed processes have left are removed, those of others aren't.
func TestRemoveStale(t *testing.T) {
	folder := runtimeFolder(t)
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Minute)
	socket := func(name string, at time.Time) *net.UnixListener {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(folder, name)})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		if err := os.Chtimes(l.Addr().String(), at, at); err != nil {
			t.Fatal(err)
		}
		return l
	}
	_ = socket("1.sock", old).Close()
	_ = socket("2.sock", time.Now()).Close() // perhaps about to listen
	live := socket("3.sock", old)
	defer live.Close()
	l, err := Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, want := range map[string]bool{"1.sock": false, "2.sock": true, "3.sock": true} {
		if _, err := os.Stat(filepath.Join(folder, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	_ = socket("x.sock", time.Now())
	if found := sockets(t.Context(), 0); len(found) != 2 || found[0] != live.Addr().String() {
		t.Errorf("%q, want those at which a process listens", found)
	}
}

// The next folder is used if a socket can't be in the first one, and none is made elsewhere.
func TestListenElsewhere(t *testing.T) {
	tmp, long := t.TempDir(), filepath.Join(t.TempDir(), strings.Repeat("x", 120))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv(FolderVariable, "")
	t.Setenv("XDG_RUNTIME_DIR", long)
	t.Setenv("TMPDIR", tmp)
	l, err := Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	t.Chdir(tmp)
	t.Setenv(FolderVariable, filepath.Join(tmp, "none", "wstun"))
	if l, err := Listen(t.Context()); err == nil {
		t.Errorf("listens at %v", l.Addr())
		_ = l.Close()
	}
}

// A folder that others can use isn't trusted: they could offer sockets of their own.
func TestUntrustedFolder(t *testing.T) {
	folder := runtimeFolder(t)
	for _, mode := range []os.FileMode{0o755, 0o777, 0o720} {
		_ = os.RemoveAll(folder)
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(folder, mode); err != nil {
			t.Fatal(err)
		}
		if err := checkFolder(folder); err == nil {
			t.Errorf("a folder with mode %v is trusted", mode)
		}
	}
	_ = os.RemoveAll(folder)
	if err := os.Symlink(t.TempDir(), folder); err != nil {
		t.Fatal(err)
	}
	if err := checkFolder(folder); err == nil {
		t.Error("a link is trusted")
	}
	if os.Geteuid() == 0 {
		_ = os.Remove(folder)
		_ = os.Mkdir(folder, 0o700)
		if err := os.Chown(folder, 1, 1); err != nil {
			t.Fatal(err)
		}
		if err := checkFolder(folder); err == nil {
			t.Error("another user's folder is trusted")
		}
	}
	if socketsIn(folder) != nil {
		t.Error("sockets in an untrusted folder")
	}
}

func TestFolders(t *testing.T) {
	t.Setenv(FolderVariable, "")
	t.Setenv("XDG_RUNTIME_DIR", "/tmp")
	t.Setenv("TMPDIR", "/tmp")
	user := strconv.Itoa(os.Geteuid())
	list := folders()
	if list[0] != "/tmp/wstun" || list[len(list)-1] != "/tmp/wstun-"+user || len(slices.Compact(slices.Sorted(slices.Values(list)))) != len(list) {
		t.Errorf("%q", list)
	}
	t.Setenv(FolderVariable, "/x")
	if list := folders(); !slices.Equal(list, []string{"/x"}) {
		t.Errorf("%q with %s", list, FolderVariable)
	}
}

func TestSocketPID(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{"/x/12.sock": 12, "/x/12-3.sock": 12, "/x/a.sock": 0, "/x-1/7.sock": 7} {
		if got := socketPID(name); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}
