package reflection

import (
	"errors"
	"fmt"
)

// maxMemory bounds the memory for the descriptors of one server, in bytes. It suffices
// for 30 MiB of encoded files with 350,000 declarations, such as the public APIs of Google.
const maxMemory = 256 * 1024 * 1024

// Memory is a budget that several Servers share; see [Server.SetMemory]. Its methods are
// called concurrently and must not block.
type Memory interface {
	// Reserve takes bytes from the budget. It returns false, and takes nothing, if
	// less is left.
	Reserve(bytes int) bool

	// Release gives bytes back.
	Release(bytes int)
}

var (
	errMemory       = fmt.Errorf("the descriptors of this server need more than %d MiB", maxMemory>>20)
	errSharedMemory = errors.New("the descriptors of all servers together need more memory than allowed")
)

// account counts the memory of one Set while it is built and until it is garbage.
type account struct {
	shared Memory // nil: none
	used   int
	limit  int
}

// left returns the number of bytes that can still be reserved, at most.
func (a *account) left() int { return a.limit - a.used }

func (a *account) reserve(bytes int) error {
	if bytes > a.left() {
		return errMemory
	}
	if a.shared != nil && !a.shared.Reserve(bytes) {
		return errSharedMemory
	}
	a.used += bytes
	return nil
}

func (a *account) release(bytes int) {
	a.used -= bytes
	if a.shared != nil && bytes > 0 {
		a.shared.Release(bytes)
	}
}

// close releases everything.
func (a *account) close() { a.release(a.used) }
