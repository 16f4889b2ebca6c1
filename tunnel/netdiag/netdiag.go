// Package netdiag explains why a network connection failed, and identifies the
// protocol that a peer speaks instead of the expected one.
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
// The functions don't block, and may be called from any goroutine. Use [Line] for
// a peer's text in messages and logs.
package netdiag
