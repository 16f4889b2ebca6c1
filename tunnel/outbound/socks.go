package outbound

import (
	"errors"
	"fmt"
	"net"
	"net/url"

	"golang.org/x/net/proxy"

	"github.com/wstun/wstun/tunnel/netdiag"
)

// connectSOCKS asks a SOCKS proxy to connect conn to addr (RFC 1928, 1929).
func connectSOCKS(conn net.Conn, user *url.Userinfo, addr string) error {
	var auth *proxy.Auth
	if user != nil {
		password, _ := user.Password()
		auth = &proxy.Auth{User: user.Username(), Password: password}
	}
	replies := &socksReplies{Conn: conn}
	socks, err := proxy.SOCKS5("tcp", conn.RemoteAddr().String(), auth, dialedConn{replies})
	if err == nil {
		_, err = socks.Dial("tcp", addr)
	}
	if err == nil {
		return nil
	}
	err = netdiag.Cause(err)
	switch refusal := replies.refusal(); {
	case replies.refusedAuth():
		return fmt.Errorf("%w: %w", errProxyAuth, err)
	case refusal != "":
		return errors.New("its answer: " + refusal) // "connection refused" is about the target
	}
	return err
}

// socksReplies records the first bytes of a SOCKS proxy's replies, because x/net has no
// error types for them.
type socksReplies struct {
	net.Conn
	head []byte
}

// A SOCKS proxy sends a version and a method (RFC 1928 §3), with the password method a
// version and a status (RFC 1929 §2), and then a version and the reply to the request
// (RFC 1928 §6).
const (
	socksNoMethod  = 0xff
	socksPassword  = 2
	socksHeadBytes = 6
)

func (c *socksReplies) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.head = append(c.head, p[:min(n, socksHeadBytes-len(c.head))]...)
	return n, err
}

// withPassword reports whether the proxy chose the password method.
func (c *socksReplies) withPassword() bool { return len(c.head) >= 2 && c.head[1] == socksPassword }

// refusedAuth reports whether the proxy refused the credentials or requires some.
func (c *socksReplies) refusedAuth() bool {
	return len(c.head) >= 2 && c.head[1] == socksNoMethod || c.withPassword() && len(c.head) >= 4 && c.head[3] != 0
}

// refusal returns the text of the reply if the proxy refused to connect, otherwise "".
func (c *socksReplies) refusal() string {
	at := 3 // the offset of the reply code
	if c.withPassword() {
		at += 2
	}
	if len(c.head) <= at || c.head[at] == 0 {
		return ""
	}
	texts := []string{
		1: "general SOCKS server failure", 2: "connection not allowed by ruleset", 3: "network unreachable", 4: "host unreachable",
		5: "connection refused", 6: "TTL expired", 7: "command not supported", 8: "address type not supported",
	}
	if reply := int(c.head[at]); reply < len(texts) {
		return texts[reply]
	}
	return fmt.Sprintf("unknown code: %d", c.head[at])
}

// dialedConn is a proxy.Dialer that returns conn.
type dialedConn struct{ conn net.Conn }

func (d dialedConn) Dial(string, string) (net.Conn, error) { return d.conn, nil }
