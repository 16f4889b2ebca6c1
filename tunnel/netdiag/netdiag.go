// Package netdiag explains in plain words why a network connection failed, and
// which protocol a peer speaks instead of the expected one.
//
//	conn, err := net.Dial("tcp", addr)
//	if err != nil {
//		return fmt.Errorf("dial %s: %w", addr, netdiag.Cause(err)) // dial host:1: connection refused
//	}
//	n, _ := conn.Read(buf)
//	if netdiag.Identify(buf[:n]) == netdiag.TLSAlert {
//		return errors.New("the server speaks TLS")
//	}
//
// Nothing here blocks or keeps state: all functions may be called from any
// goroutine. Text from a peer belongs into a message or a log only after [Line]
// or [Printable].
package netdiag
