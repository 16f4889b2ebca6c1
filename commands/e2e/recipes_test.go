//go:build linux

package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// TestRecipes runs each recipe of the manual in a folder of its own: it writes the blocks that name a
// file, and types the commands of the terminals. The output must be as in the recipe, except for
// times, blanks, and whatever stands for "…". Commands that run until stopped must print these
// lines; a "^C" is for the first of them that still runs.
//
// A recipe's 127.0.0.1 is another address in 127.0.0.0/8, so that recipes may use the same ports. The
// ports that are open to the world are a unix socket. A proxy connects to it for all names of hosts.
// Unless a recipe listens there, a Hub does. The intervals of Pings, and the times that depend on
// them, are a fiftieth of those in the recipe.
func TestRecipes(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("commands/RECIPES.md")
	if err != nil {
		t.Fatal(err)
	}
	upstream := startDaemon(t, "grpcserver", "v1").find(t, `^(127.*)$`)
	recipes := regexp.MustCompile(`(?m)^## `).Split(string(text), -1)[1:]
	if len(recipes) < 9 {
		t.Fatalf("only %d recipes", len(recipes))
	}
	for _, recipe := range recipes {
		name, text, _ := strings.Cut(recipe, "\n")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newKitchen(t, text, upstream).cook(t, text)
		})
	}
}

// kitchen is where a recipe runs.
type kitchen struct {
	dir     string
	env     []string
	local   *strings.Replacer // makes a text of the recipe one for this machine
	running []*process        // the terminals' commands that run until stopped
	exports string            // the lines of the terminals that export variables
}

func newKitchen(t *testing.T, text, upstream string) *kitchen {
	t.Helper()
	for _, program := range []string{"nginx", "haproxy", "jq", "flock"} {
		used := regexp.MustCompile("(?m)(^|[(`|$] ?|exec )" + program + " ").MatchString(text)
		if _, err := exec.LookPath(program); err != nil && used {
			t.Skip(program + " is not installed")
		}
	}
	bin, err := exec.LookPath("wstun")
	if err != nil {
		t.Fatal(err)
	}
	k := &kitchen{dir: exampleFolder(t, "")}
	k.run(t, "cat cert.pem key.pem >hub.pem", os.Environ())
	public, names := filepath.Join(k.dir, "public.sock"), exec.Command("proxy", "user:secret")
	names.Env = append(os.Environ(), "NAMES="+public)
	proxy := runDaemon(t, names).find(t, `^(127.*)$`)
	loopback := fmt.Sprintf("127.%d.%d.1", 16+rand.IntN(200), rand.IntN(256))
	k.local = strings.NewReplacer("127.0.0.1", loopback, " :9000", " "+upstream,
		" 443 ", " unix:"+public+" ", " :443 ", " unix@"+public+" ", " 0.0.0.0:8443", " unix:"+public, "wss://0.0.0.0:8443/", "unix:"+public,
		" 100s", " 2s", "sleep 200", "sleep 4", "proxy.corp.example:3128", proxy, "/etc/ssl/", k.dir+"/", "/usr/local/bin", filepath.Dir(bin))
	k.env = append(os.Environ(), "HOME="+k.dir, "WSTUN_RUNTIME_DIR="+k.dir+"/run", "WSTUN_ACCEPT="+loopback+":7070", "WSTUN_PING_INTERVAL=600ms", "WSTUN_PRETTY=true", "NO_COLOR=1",
		"HTTPS_PROXY=http://user:secret@"+proxy, "NO_PROXY=")
	if !strings.Contains(text, "--cacert") {
		k.env = append(k.env, "SSL_CERT_FILE="+k.dir+"/ca.pem") // as if it were a public authority
	}
	if !regexp.MustCompile(`(?m)^(    listen|    bind|\$ wstun \w+ --accept) .*443`).MatchString(text) {
		k.start(t, "wstun serve --accept unix:"+public+" --cert cert.pem --key key.pem --token-file token --path /v1/ws/sync --upstream "+upstream)
	}
	return k
}

var recipeBlock = regexp.MustCompile("(?ms)^```(\\w+)(?: (\\S+))?\n(.*?)^```$")

func (k *kitchen) cook(t *testing.T, text string) {
	t.Helper()
	for _, block := range recipeBlock.FindAllStringSubmatch(text, -1) {
		kind, file, text := block[1], block[2], k.local.Replace(block[3])
		if file != "" {
			if err := os.WriteFile(filepath.Join(k.dir, file), []byte(text), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		switch kind {
		case "console":
			k.terminal(t, text)
		case "crontab":
			k.cron(t, text)
		case "nginx":
			k.nginx(t, file)
		case "haproxy":
			k.public(t, "haproxy -f "+file)
		default:
			if file == "" {
				t.Errorf("a block of %s without the name of a file", kind)
			}
		}
		if t.Failed() {
			return
		}
	}
}

// terminal types the commands of a terminal.
func (k *kitchen) terminal(t *testing.T, text string) {
	t.Helper()
	steps := regexp.MustCompile(`(?m)^\$ `).Split(text, -1)
	switch steps[0] {
	case "":
	case "^C\n":
		k.interrupt(t)
	default:
		t.Errorf("no command before the output %q", steps[0])
	}
	for _, step := range steps[1:] {
		command, want, _ := strings.Cut(step, "\n")
		for strings.HasSuffix(command, `\`) {
			more, rest, _ := strings.Cut(want, "\n")
			command, want = command+"\n"+more, rest
		}
		switch {
		case strings.HasPrefix(command, "export "):
			k.exports += command + "\n"
		case regexp.MustCompile(`^wstun (serve|dial|tap|relay)\b`).MatchString(command) && !regexp.MustCompile(` -- |;`).MatchString(command):
			p := k.start(t, command)
			k.running = append(k.running, p)
			for line := range strings.Lines(want) {
				p.find(t, "^"+anyTime(strings.TrimSuffix(line, "\n"))+"$")
			}
		default:
			if got := k.run(t, "{ "+k.exports+command+"\n} 2>&1", k.env); !regexp.MustCompile("^" + anyTime(want) + "$").MatchString(got) {
				t.Errorf("$ %s\n%swant\n%s", command, got, want)
			}
		}
	}
}

// anyTime returns a pattern for text, in which "…", times and the width of blanks may be others.
func anyTime(text string) string {
	varying := regexp.MustCompile(`…|\d+(\.\d+)? ?(ms|s)\b| +`)
	pattern := ""
	for {
		at := varying.FindStringIndex(text)
		if at == nil {
			return pattern + regexp.QuoteMeta(text)
		}
		pattern += regexp.QuoteMeta(text[:at[0]])
		switch text[at[0]] {
		case ' ':
			pattern += " +"
		case "…"[0]:
			pattern += ".*"
		default:
			pattern += `[\d.]+ ?(µs|ms|s)`
		}
		text = text[at[1]:]
	}
}

// command returns a command line in the recipe's folder.
func (k *kitchen) command(line string, env []string) *exec.Cmd {
	cmd := exec.Command("sh", "-c", line)
	cmd.Dir, cmd.Env = k.dir, env
	return cmd
}

// run runs a command line to its end, and requires exit status 0.
func (k *kitchen) run(t *testing.T, line string, env []string) string {
	t.Helper()
	p, err := startProcess(k.command(line, env), io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill()
	if status, err := p.exitStatus(); err != nil || status != 0 {
		t.Errorf("$ %s\nstatus %d, %v", line, status, err)
	}
	return p.String()
}

// start starts a command that runs until stopped, and waits until it is ready.
func (k *kitchen) start(t *testing.T, line string) *process {
	t.Helper()
	p := runDaemon(t, k.command(k.exports+"exec "+line, k.env))
	if strings.HasPrefix(line, "wstun ") {
		p.find(t, `msg=(ready|listening url)`)
	}
	return p
}

// interrupt stops the first of the commands that run, as Ctrl-C would.
func (k *kitchen) interrupt(t *testing.T) {
	t.Helper()
	p := k.running[0]
	k.running = k.running[1:]
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if status, err := p.exitStatus(); err != nil || status != 0 {
		t.Errorf("status %d, %v\n%s", status, err, p)
	}
}

// cron runs the commands of a crontab as cron would, which sends a mail if they print something.
func (k *kitchen) cron(t *testing.T, text string) {
	t.Helper()
	env := []string{"PATH=/usr/bin:/bin"}
	for _, kv := range k.env {
		if regexp.MustCompile(`^(GO|HOME=|HTTPS_PROXY=|SSL_CERT_FILE=)`).MatchString(kv) {
			env = append(env, kv)
		}
	}
	for line := range strings.Lines(text) {
		if job := regexp.MustCompile(`^(?:[\d*/,-]+ ){5}(.*)\n`).FindStringSubmatch(line); job != nil {
			if got := k.run(t, job[1], env); got != "" {
				t.Errorf("$ %s\n%s", job[1], got)
			}
		} else {
			env = append(env, strings.TrimSpace(line))
		}
	}
}

// nginx starts nginx with a file of a site.
func (k *kitchen) nginx(t *testing.T, site string) {
	t.Helper()
	config := "daemon off; pid nginx.pid; error_log stderr; events {}\nhttp { access_log off; include " + site + ";\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		config += kind + "_temp_path " + kind + ";\n"
	}
	if err := os.WriteFile(filepath.Join(k.dir, "nginx.conf"), []byte(config+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	k.public(t, "nginx -p . -c nginx.conf -e stderr")
}

// public starts a program that listens at the port that is open to the world.
func (k *kitchen) public(t *testing.T, line string) {
	t.Helper()
	k.start(t, line)
	tunneltest.Eventually(t, line+" listens", func() bool {
		conn, err := net.Dial("unix", filepath.Join(k.dir, "public.sock"))
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}
