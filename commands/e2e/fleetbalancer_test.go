//go:build linux && !race

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// balancer is a load balancer in front of relays, with its configuration.
type balancer struct {
	name string
	prog string

	// config has DIR, the folder of the balancer's files, FRONT, the address to accept at,
	// and LINE with RELAY for the address of each relay.
	config, line string

	// args has CONFIG. The process reloads its configuration on reload.
	args   []string
	reload string // the name of a signal
}

// HAProxy asks /healthz and not /readyz: it cuts the sessions of a server that is down. A relay
// that is shutting down refuses some handshakes with 503, which are for another one.
const haproxyConfig = `global
	maxconn 9000
	stats socket DIR/haproxy.sock mode 600 level admin expose-fd listeners
defaults
	mode http
	timeout connect 1s
	timeout check 300ms
	timeout client 30s
	timeout server 30s
	timeout tunnel 1h
	retries 2
	retry-on conn-failure empty-response 503
	option redispatch 1
frontend front
	bind FRONT
	default_backend relays
backend relays
	balance BALANCE
	hash-type consistent sdbm avalanche
	option httpchk
	http-check send meth GET uri /healthz
	http-check expect status 200
	default-server check inter 300ms fall 2 rise 2 on-marked-down shutdown-sessions
LINE
`

const nginxConfig = `daemon off;
worker_processes 2;
pid DIR/nginx.pid;
error_log stderr crit;
events { worker_connections 4000; }
http {
	access_log off;
	client_body_temp_path DIR/body;
	proxy_temp_path DIR/proxy;
	fastcgi_temp_path DIR/fastcgi;
	uwsgi_temp_path DIR/uwsgi;
	scgi_temp_path DIR/scgi;
	upstream relays {
		zone relays 256k;
		hash $uri consistent;
LINE
	}
	server {
		listen FRONT;
		location / {
			proxy_pass http://relays;
			proxy_http_version 1.1;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection upgrade;
			proxy_set_header Host $host;
			proxy_set_header X-Forwarded-For $remote_addr;
			proxy_connect_timeout 1s;
			proxy_read_timeout 7s; # more than --hold
			proxy_next_upstream error timeout http_503 non_idempotent;
		}
	}
}
`

// With max_fails=0, which the manual advises, the dials after a freeze take minutes; see
// RESULTS.md of package relay.
var balancers = []balancer{
	{
		name: "haproxy-roundrobin", prog: "haproxy", reload: "USR2",
		config: strings.Replace(haproxyConfig, "BALANCE", "roundrobin", 1), line: "\tserver rNUMBER RELAY id NUMBER",
		args: []string{"-W", "-db", "-f", "CONFIG"},
	},
	{
		name: "haproxy-hash", prog: "haproxy", reload: "USR2",
		config: strings.Replace(haproxyConfig, "BALANCE", "uri", 1), line: "\tserver rNUMBER RELAY id NUMBER",
		args: []string{"-W", "-db", "-f", "CONFIG"},
	},
	{
		name: "nginx-hash", prog: "nginx", reload: "HUP",
		config: nginxConfig, line: "\t\tserver RELAY max_fails=1 fail_timeout=1s;",
		args: []string{"-p", "DIR", "-c", "CONFIG"},
	},
}

// write writes the configuration for relays to dir, and returns the arguments.
func (b *balancer) write(t *testing.T, dir, front string, relays []string) (args []string) {
	t.Helper()
	var lines []string
	for i, addr := range relays {
		lines = append(lines, strings.NewReplacer("RELAY", addr, "NUMBER", fmt.Sprint(i+1)).Replace(b.line))
	}
	file := filepath.Join(dir, b.prog+".conf")
	config := strings.NewReplacer("DIR", dir, "FRONT", front, "LINE", strings.Join(lines, "\n")).Replace(b.config)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, arg := range b.args {
		args = append(args, strings.NewReplacer("CONFIG", file, "DIR", dir).Replace(arg))
	}
	return args
}
