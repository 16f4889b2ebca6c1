package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/tunnel/netdiag"
)

// suffix is that of the sockets' names, which begin with the process ID. A process of another
// container may have the same ID: then there is a number between them.
const suffix = ".sock"

// FolderVariable is the environment variable with the only folder for sockets. It is made, but
// not the folder that it is in.
const FolderVariable = "WSTUN_RUNTIME_DIR"

// folders returns the folders that may have sockets of this user, the first choice first:
// that of FolderVariable, or one in XDG_RUNTIME_DIR, which isn't set for cron jobs and some
// services, and those for temporary files.
func folders() []string {
	if dir := os.Getenv(FolderVariable); dir != "" {
		return []string{dir}
	}
	user := strconv.Itoa(os.Geteuid())
	var list []string
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		list = append(list, filepath.Join(dir, "wstun"))
	}
	if runtime.GOOS == "linux" && isDir("/run/user/"+user) {
		list = append(list, "/run/user/"+user+"/wstun")
	}
	list = append(list, filepath.Join(os.TempDir(), "wstun-"+user))
	if runtime.GOOS != "windows" {
		list = append(list, "/tmp/wstun-"+user)
	}
	for i := len(list) - 1; i > 0; i-- {
		if slices.Contains(list[:i], list[i]) {
			list = slices.Delete(list, i, i+1)
		}
	}
	return list
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// makeFolder makes a folder that only this user can use, unless there is one.
func makeFolder(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return checkFolder(path)
}

// checkFolder refuses a folder that another user has made, or can use.
func checkFolder(path string) error {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return err
	case !info.IsDir(), !isOwn(info):
		return fmt.Errorf("%s isn't a folder of this user", path)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s has mode %v: others can use it", path, info.Mode().Perm())
	}
	return nil
}

// Listen listens at a socket of this process in the first of the user's folders where that is
// possible. It removes those that processes have left there.
func Listen(ctx context.Context) (net.Listener, error) {
	var first error
	for _, folder := range folders() {
		l, err := listenIn(ctx, folder)
		if err == nil {
			return l, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

func listenIn(ctx context.Context, folder string) (l net.Listener, err error) {
	if err := makeFolder(folder); err != nil {
		return nil, err
	}
	removeStale(ctx, folder)
	const attempts = 100
	name := strconv.Itoa(os.Getpid())
	for i := range attempts {
		path := filepath.Join(folder, name+suffix)
		if i > 0 {
			path = filepath.Join(folder, fmt.Sprintf("%s-%d%s", name, i, suffix))
		}
		if l, err = endpoint.Listen(ctx, "--control", "unix:"+path); !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return l, err
}

// removeStale removes the sockets in a folder that nobody listens at, but not new ones: their
// processes may be about to.
func removeStale(ctx context.Context, folder string) {
	const isNew = 10 * time.Second
	for _, path := range socketsIn(folder) {
		if info, err := os.Lstat(path); err != nil || time.Since(info.ModTime()) < isNew {
			continue
		}
		if isStale(ctx, path) {
			_ = os.Remove(path)
		}
	}
}

// isStale reports whether nobody listens at a socket.
func isStale(ctx context.Context, path string) bool {
	return netdiag.Is(tryDial(ctx, path), syscall.ECONNREFUSED)
}

// tryDial dials a socket and closes the connection.
func tryDial(ctx context.Context, path string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return err
	}
	return conn.Close()
}

func socketsIn(folder string) []string {
	if checkFolder(folder) != nil {
		return nil
	}
	paths, _ := filepath.Glob(filepath.Join(folder, "*"+suffix)) // the pattern is well-formed
	return paths
}

// sockets returns the paths of the sockets of this user's processes, the lowest process ID
// first; with pid, those of that one. Those that killed processes have left aren't among them.
func sockets(ctx context.Context, pid int) (paths []string) {
	for _, folder := range folders() {
		for _, path := range socketsIn(folder) {
			if owner := socketPID(path); owner > 0 && (pid == 0 || owner == pid) && !isStale(ctx, path) {
				paths = append(paths, path)
			}
		}
	}
	slices.SortStableFunc(paths, func(a, b string) int { return socketPID(a) - socketPID(b) })
	return paths
}

// unitSockets matches the sockets of the units of systemd in packaging.
const unitSockets = "/run/wstun-*/control"

// socketsOfUnits returns the paths of the sockets of running units. Only root can use them. With
// FolderVariable there are none.
func socketsOfUnits(ctx context.Context) []string {
	if os.Geteuid() != 0 || os.Getenv(FolderVariable) != "" {
		return nil
	}
	return answering(ctx, unitSockets)
}

// answering returns the paths of the sockets that match a pattern and that somebody listens at.
func answering(ctx context.Context, pattern string) []string {
	paths, _ := filepath.Glob(pattern) // the pattern is well-formed
	return slices.DeleteFunc(paths, func(path string) bool { return tryDial(ctx, path) != nil })
}

// socketPID returns the process ID in the name of a socket.
func socketPID(path string) int {
	name, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(path), suffix), "-")
	pid, _ := strconv.Atoi(name)
	return pid
}
