//go:build unix

package e2e

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// oidc is an OpenID provider. It prints its URL. GET /token returns a token with the claims
// in the query: exp counts from now, groups is a list with commas. The parameter key names the key,
// which exists from then on; withdraw removes the published one of that name.
func oidc() {
	var (
		mu        sync.Mutex
		keys      = map[string]jose.JSONWebKey{}
		published jose.JSONWebKeySet
	)
	key := func(id string) jose.JSONWebKey {
		if _, ok := keys[id]; !ok {
			k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				panic(err)
			}
			keys[id] = jose.JSONWebKey{Key: k, KeyID: id, Use: "sig"}
			published.Keys = append(published.Keys, jose.JSONWebKey{Key: k.Public(), KeyID: id, Use: "sig"})
		}
		return keys[id]
	}
	l := mustListen()
	issuer := "http://" + l.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": issuer, "jwks_uri": issuer + "/keys"})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_ = json.NewEncoder(w).Encode(published)
	})
	mux.HandleFunc("GET /token", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.WriteString(w, oidcSign(issuer, key, r.URL.Query()))
		published.Keys = slices.DeleteFunc(published.Keys, func(k jose.JSONWebKey) bool { return k.KeyID == r.URL.Query().Get("withdraw") })
	})
	_ = http.Serve(l, mux)
}

func oidcSign(issuer string, key func(string) jose.JSONWebKey, query url.Values) string {
	claims := map[string]any{"iss": issuer, "aud": "wss://relay.example", "exp": time.Now().Add(time.Hour).Unix()}
	id := "k1"
	for name := range query {
		switch text := query.Get(name); name {
		case "key":
			id = text
		case "withdraw":
		case "exp":
			seconds, _ := strconv.Atoi(text)
			claims[name] = time.Now().Unix() + int64(seconds)
		case "groups":
			claims[name] = strings.Split(text, ",")
		default:
			claims[name] = text
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key(id)}, nil)
	if err != nil {
		panic(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		panic(err)
	}
	return token
}

// oidctoken writes a token of the provider at the first argument to the file of the second one. The
// others are claims.
func oidctoken() {
	query := url.Values{}
	for _, arg := range os.Args[3:] {
		name, value, _ := strings.Cut(arg, "=")
		query.Set(name, value)
	}
	resp, err := http.Get("http://" + os.Args[1] + "/token?" + query.Encode())
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	token, err := io.ReadAll(resp.Body)
	path := os.Args[2]
	if err = errors.Join(err, os.WriteFile(path+".new", token, 0o600), os.Rename(path+".new", path)); err != nil {
		panic(err)
	}
}

// incidentLine is a line of an audit.
type incidentLine struct {
	Time                                                time.Time
	Kind, Role, Name, Instance, Subject, Rule, Key, JTI string
	Relay, Via, Reason                                  string
	Session, Worker                                     uint64
	Up                                                  int64 `json:"bytes_up"`
	Down                                                int64 `json:"bytes_down"`
	Seconds                                             float64
	Code                                                int
}

// incident prints the deeds of engineers, ordered by their ends, from the audits in the files.
func incident() {
	var all []incidentLine
	for _, path := range os.Args[1:] {
		f, err := os.Open(path)
		if err != nil {
			panic(err)
		}
		for scanner := bufio.NewScanner(f); scanner.Scan(); {
			var line incidentLine
			if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
				panic(err)
			}
			all = append(all, line)
		}
	}
	slices.SortStableFunc(all, func(a, b incidentLine) int { return a.Time.Compare(b.Time) })
	for _, line := range all {
		if line.Role != "dial" {
			continue
		}
		who := fmt.Sprintf("%s (rule %s, key %s, token %s)", line.Subject, line.Rule, line.Key, line.JTI)
		switch line.Kind {
		case "stream":
			served := slices.IndexFunc(all, func(w incidentLine) bool {
				return w.Kind == "session" && w.Relay == line.Relay && w.Session == line.Worker
			})
			if line.Up > 0 && line.Down > 0 && served >= 0 && len(all[served].Instance) == 32 {
				fmt.Printf("%s called %s at %s, through %q, served by %s\n", who, line.Name, line.Relay, line.Via, all[served].Subject)
			}
		case "hop":
			fmt.Printf("%s was sent on by %s to %s\n", who, line.Relay, line.Name)
		case "session":
			fmt.Printf("%s left %s at %s: %s\n", who, line.Name, line.Relay, line.Reason)
		case "refusal":
			fmt.Printf("%s was refused %s at %s: %d %s\n", who, line.Name, line.Relay, line.Code, line.Reason)
		}
	}
}
