package wsmux

import (
	"net"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// nettest allows each of its tests a minute, in which others shouldn't have the
// processor.
func TestWrapConnIsANetConn(t *testing.T) { //nolint:tparallel // see above
	for _, first := range []string{"dialing side", "accepting side"} {
		t.Run(first, func(t *testing.T) {
			t.Parallel()
			nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
				dialed, accepted := tunneltest.WebSockets(t)
				c1, c2 := WrapConn(dialed), WrapConn(accepted)
				if first == "accepting side" {
					c1, c2 = c2, c1
				}
				return c1, c2, func() { c1.Close(); c2.Close() }, nil
			})
		})
	}
}
