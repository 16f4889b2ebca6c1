//go:build !unix

package socket

import "net"

// Writer writes to a socket without blocking.
type Writer struct{}

// NewWriter returns nil: only on Unix is there such a write.
func NewWriter(net.Conn) *Writer { return nil }

// TryWrite is never called.
func (*Writer) TryWrite([]byte) (int, error) { return 0, nil }
