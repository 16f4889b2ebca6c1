package natsdir

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// operator signs accounts, which sign users.
type operator struct {
	t    *testing.T
	keys nkeys.KeyPair
}

func newOperator(t *testing.T) *operator {
	t.Helper()
	keys, err := nkeys.CreateOperator()
	if err != nil {
		t.Fatal(err)
	}
	return &operator{t, keys}
}

func publicKey(t *testing.T, keys nkeys.KeyPair) string {
	t.Helper()
	public, err := keys.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// account returns a new account, and its JWT.
func (o *operator) account() (keys nkeys.KeyPair, token string) {
	o.t.Helper()
	keys, err := nkeys.CreateAccount()
	if err != nil {
		o.t.Fatal(err)
	}
	if token, err = jwt.NewAccountClaims(publicKey(o.t, keys)).Encode(o.keys); err != nil {
		o.t.Fatal(err)
	}
	return keys, token
}

// creds writes the credentials of a new user of an account to a file.
func creds(t *testing.T, account nkeys.KeyPair, change func(*jwt.UserClaims)) string {
	t.Helper()
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.NewUserClaims(publicKey(t, user))
	if change != nil {
		change(claims)
	}
	token, err := claims.Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.FormatUserConfig(token, seed)
	if err != nil {
		t.Fatal(err)
	}
	return writeCreds(t, text)
}

func writeCreds(t *testing.T, text []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "relay.creds")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// With the credentials of a user of the server's account, relays find each other's Workers.
// Others are refused, with one line in the log, until the file has the right ones.
func TestCreds(t *testing.T) {
	t.Parallel()
	op := newOperator(t)
	account, token := op.account()
	resolver := &server.MemAccResolver{}
	if err := resolver.Store(publicKey(t, account), token); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, func(o *server.Options) {
		o.TrustedKeys, o.AccountResolver = []string{publicKey(t, op.keys)}, resolver
	})
	var right []*Directory
	for _, id := range []string{"r1", "r2"} {
		d, err := Connect(Options{Servers: s.ClientURL(), Creds: creds(t, account, nil), ID: id, URL: urlOf(id)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.Close)
		awaitConnected(t, d)
		right = append(right, d)
	}
	right[0].Claim("w", from(instanceA, 1), ignore)
	right[1].awaitAt(t, "w", "r1")

	stranger, _ := op.account()
	text, err := os.ReadFile(creds(t, account, nil))
	if err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"another account": creds(t, stranger, nil),
		"expired":         creds(t, account, func(c *jwt.UserClaims) { c.Expires = time.Now().Add(-time.Hour).Unix() }),
		"none":            "",
		"not a JWT":       writeCreds(t, bytes.Replace(text, []byte("ey"), []byte("xx"), 1)),
		"no key":          writeCreds(t, text[:bytes.Index(text, []byte("-----BEGIN USER NKEY"))]),
		"empty":           writeCreds(t, nil),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log tunneltest.Buffer
			d, err := Connect(Options{
				Servers: s.ClientURL(), Creds: path, ID: "r3", URL: urlOf("r3"), Logger: slog.New(slog.NewTextHandler(&log, nil)),
			})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			tunneltest.Eventually(t, "the line", func() bool { return strings.Contains(log.String(), "\n") })
			if url, err := d.locateWithin("w", 4*reconnectWait); err == nil {
				t.Errorf("Locate = %q, want an error", url)
			}
			if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "level=WARN") {
				t.Errorf("%d lines in the log, want one warning: %s", n, log.String())
			}
			if path == "" {
				return
			}
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			awaitConnected(t, d)
			d.awaitAt(t, "w", "r1")
		})
	}
}
