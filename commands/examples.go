package commands

// example is a command line in the help.
type example struct {
	purpose string
	line    string // for bash; each of its lines fits into 80 columns
}

// examples has the examples of each command, and of wstun itself. A test runs them all,
// with its own addresses in place of those here.
var examples = map[string][]example{
	"wstun": {
		{"See all of it in one process", "wstun demo"},
		{"Which layer to a Worker is broken?", "wstun check wss://worker.example/v1/ws/sync"},
		{"Call a gRPC server through its session", "wstun list wss://worker.example/v1/ws/sync"},
		{"Show every RPC between a Hub and a Worker", "wstun tap wss://worker.example/v1/ws/sync"},
	},
	"serve": {
		{"Serve a demo Hub at ws://127.0.0.1:7070/", "wstun serve"},
		{"Serve an existing gRPC server to a Worker that accepts WebSockets", "wstun serve --upstream :9000 --token-file token \\\n  wss://worker.example/v1/ws/sync"},
		{"Stand in for a Hub, with answers from a file", "wstun serve --stub hub.yaml --proto hub.proto"},
		{"Wait for Workers, with TLS and a token", "wstun serve --accept 0.0.0.0:8443 --cert cert.pem --key key.pem \\\n  --token-file token"},
	},
	"dial": {
		{"Let gRPC clients at 127.0.0.1:50051 into a session", "wstun dial wss://worker.example/v1/ws/sync"},
		{"Stand in for a Worker: wait for the Hub, call it at a local port", "wstun dial --accept 0.0.0.0:8443 --path /v1/ws/sync --token-file token"},
		{"Run a command with a tunnel", "wstun dial --listen :0 wss://worker.example/v1/ws/sync -- \\\n  sh -c 'grpcurl -plaintext \"$WSTUN_ADDR\" list'"},
		{"Print every RPC and its messages", "wstun dial --trace-messages wss://worker.example/v1/ws/sync"},
	},
	"tap": {
		{"Show every RPC: point the side that dials at ws://127.0.0.1:7070/", "wstun tap wss://worker.example/v1/ws/sync"},
		{"Show only calls that fail or are slow, with their messages", "wstun tap --trace-messages --filter 'status!=OK' --filter '>500ms' \\\n  wss://worker.example/v1/ws/sync"},
		{"Record the calls, for wstun replay and wstun serve --stub", "wstun tap --record calls wss://worker.example/v1/ws/sync"},
	},
	"relay": {
		{"Let workers and engineers on this machine meet", "wstun relay"},
		{"For other machines: with TLS, and tokens for names", "wstun relay --accept 0.0.0.0:8443 --cert cert.pem --key key.pem \\\n  --policy policy.yaml --audit audit.jsonl"},
		{"As one of several", "wstun relay --accept 10.0.3.7:7070 --policy policy.yaml \\\n  --directory nats://10.0.3.1,nats://10.0.3.2 --trusted-proxy 10.0.3.0/24"},
	},
	"workers": {
		{"List the workers that this user may dial", "wstun workers --token-file token wss://relay.example/"},
		{"Print the names that begin with eu-", "wstun workers --output json wss://relay.example/ eu- | jq -r .name"},
	},
	"check": {
		{"Probe each layer", "wstun check wss://worker.example/v1/ws/sync"},
		{"With a token in a header of its own", "wstun check --token-file token --token-header X-SYNC-TOKEN \\\n  wss://worker.example/v1/ws/sync"},
		{"Print an object for each layer", "wstun check --output json wss://worker.example/v1/ws/sync"},
	},
	"list": {
		{"List the services at the other end of a session", "wstun list wss://worker.example/v1/ws/sync"},
		{"List the methods of a service of a plain gRPC server", "wstun list :9000 wstun.demo.v1.Hub"},
		{"List the services in a .proto file", "wstun list --proto hub.proto"},
	},
	"describe": {
		{"Describe a method", "wstun describe wss://worker.example/v1/ws/sync Hub.CreateKey"},
		{"Print a request to fill in", "wstun describe --msg-template :9000 CreateKeyRequest"},
		{"Write the services of a server and their types as .proto files", "wstun describe --proto-out-dir protos :9000"},
	},
	"call": {
		{"Call a method through a session", "wstun call -d '{\"name\":\"k1\"}' wss://worker.example/v1/ws/sync Hub/CreateKey"},
		{"Call a plain gRPC server, with metadata", "wstun call --rpc-header 'x-request-id: 7' -d '{\"text\":\"hi\"}' :9000 Hub/Echo"},
		{"Send a stream of messages", "printf '{\"value\":1}{\"value\":2}' | wstun call :9000 Hub/Sum"},
		{"Follow a stream for its first two events", "wstun call --count 2 -d '{\"tick\":\"0.1s\"}' :9000 Hub/WatchKeys"},
		{"Print the response with status, metadata and timings as JSON", "wstun call --output json -d '{\"name\":\"k2\"}' :9000 Hub/CreateKey"},
	},
	"shell": {
		{"Type calls at a prompt", "wstun shell wss://worker.example/v1/ws/sync"},
		{"Run commands; $.name is the name in the last response", "wstun shell -c 'call CreateKey {\"name\":\"k3\"}' \\\n  -c 'call DeleteKey {\"name\":$.name}' :9000"},
		{"Run a script, until a command fails", "wstun shell -e wss://worker.example/v1/ws/sync <script"},
	},
	"status": {
		{"Print the sessions and open calls of all running processes", "wstun status"},
		{"Wait in a script until a tunnel is ready", "wstun status --until-ready=10s --attach 4711"},
		{"Print as JSON how many calls have ended, by status", "wstun status --output json | jq .rpcs"},
	},
	"inspect": {
		{"Show the calls of a running wstun in a browser", "wstun inspect --open --attach 4711"},
		{"Show a recording", "wstun inspect recording"},
		{"Make calls from forms, through a session", "wstun inspect wss://worker.example/v1/ws/sync"},
	},
	"trace": {
		{"Print the calls in a recording", "wstun trace recording"},
		{"With the messages, only of calls that failed", "wstun trace --trace-messages --filter 'status!=OK' recording"},
		{"Convert a recording for Wireshark", "wstun trace --record calls.pcapng recording"},
		{"Show the calls of a running wstun, from now on", "wstun trace --attach 4711 --trace-messages"},
	},
	"replay": {
		{"Make the recorded calls again and compare the responses", "wstun replay --ignore create_time recording wss://worker.example/v1/ws/sync"},
		{"Only the calls of some methods, at the recorded speed", "wstun replay --filter 'Hub/Echo' --speed 1 recording :9000"},
	},
	"demo": {
		{"Try it, until Ctrl-C", "wstun demo"},
		{"Only show the calls", "wstun demo --once"},
		{"Workers and an engineer at a relay", "wstun demo --relay"},
	},
	"config": {
		{"Print the targets, and the settings that apply without one", "wstun config"},
		{"Print the settings of a target", "wstun config --config config.yaml @staging"},
	},
	"completion": {
		{"Switch completion on in this bash", "source <(wstun completion bash)"},
		{"Write the script for zsh to a folder in its fpath", "wstun completion zsh >_wstun"},
	},
	"man": {
		{"Read the manual", "wstun man >wstun.1 && man ./wstun.1"},
	},
	"version": {
		{"Print the version", "wstun version"},
		{"Print it with the commit, for a script", "wstun version --output json"},
	},
	"help": {
		{"Print the commands", "wstun help"},
		{"Print all flags of a command", "wstun help --all call"},
	},
}
