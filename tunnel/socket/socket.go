// Package socket writes to sockets without blocking, which package net can't.
package socket

import (
	"net"
	"os"
	"syscall"
)

// Raw returns the connection for system calls; nil if conn isn't a socket.
func Raw(conn net.Conn) syscall.RawConn {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// OpError wraps the error of a system call as package net does.
func OpError(op string, conn net.Conn, err error) error {
	return &net.OpError{Op: op, Net: conn.LocalAddr().Network(), Source: conn.LocalAddr(), Addr: conn.RemoteAddr(), Err: os.NewSyscallError(op, err)}
}
