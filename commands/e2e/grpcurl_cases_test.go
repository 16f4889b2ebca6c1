//go:build unix

package e2e

// sinkProto has one of each kind of symbol that describe can print.
const sinkProto = `
syntax = "proto2";

package sink;

import "google/protobuf/any.proto";
import "google/protobuf/descriptor.proto";
import "google/protobuf/struct.proto";

// Sink accepts any message.
service Sink {
  option (note) = "on a service";
  // Take returns its request.
  rpc Take(All) returns (All) { option deprecated = true; }
}

extend google.protobuf.ServiceOptions { optional string note = 50001; }

message All {
  required int64 id = 1 [deprecated = true];
  repeated Color colors = 2 [packed = true];
  map<string, Inner> inners = 3;
  oneof one {
    string this = 4;
    bytes that = 5;
  }
  optional group Old = 6 { optional bool very = 1 [default = true]; }
  message Inner { optional double d = 1; optional All all = 2; }
  optional google.protobuf.Any any = 7;
  optional google.protobuf.Struct struct = 8;
  optional google.protobuf.Value value = 9;
  optional string text = 10 [default = "x"];
  optional Color paint = 11 [default = GREEN];
  extensions 100 to max;
  reserved 50 to 60, 70;
  reserved "gone";
}

enum Color {
  option allow_alias = true;
  RED = 0;
  GREEN = 1;
  VERT = 1;
}

extend All { optional string extra = 101; }
`

// comparison is a command line of grpcurl, and that of wstun which must have the same
// output and exit status, except for the text of errors.
//
// TestAsGrpcurl replaces these words: ADDR by the address of the test server, SOCKET by the
// path of its unix socket, SECURE by its address with TLS, DEAD by an address without a
// listener, and ROOT by the root of the repository. TARGET, in wstun's command line, is
// replaced by the URL of a tunnel to the server, and in a second run by the server's address.
type comparison struct {
	grpcurl, wstun string // arguments; one with spaces is in '…'
	stdin          string // of both
}

// comparisons has each example of grpcurl's README and each flag of its -help, with services
// of the test server, and calls that fail.
var comparisons = []comparison{
	// README, "Invoking RPCs"
	{"-plaintext ADDR wstun.demo.v1.Hub/Sleep", "call --pretty TARGET wstun.demo.v1.Hub/Sleep", ""},
	{`-plaintext -d '{"name": "none"}' ADDR wstun.demo.v1.Hub/DeleteKey`, `call --pretty -d '{"name": "none"}' TARGET wstun.demo.v1.Hub/DeleteKey`, ""},
	{`-plaintext -d '{"name": "none"}' ADDR wstun.demo.v1.Hub/DeleteKey`, `call TARGET wstun.demo.v1.Hub/DeleteKey '{"name": "none"}' --pretty`, ""},
	{"-plaintext -d @ ADDR wstun.demo.v1.Hub/Sum", "call --pretty -d @ TARGET wstun.demo.v1.Hub/Sum", "{\n  \"value\": 1234\n}\n{\"value\": \"1\"}"},
	{`-plaintext -d '{"text":"a"} {"text":"b"}' ADDR wstun.demo.v1.Hub.Echo`, `call --pretty -d '{"text":"a"} {"text":"b"}' TARGET wstun.demo.v1.Hub.Echo`, ""},
	{`-plaintext -d '{"tick":"0.001s","maxEvents":2}' ADDR wstun.demo.v1.Hub/WatchKeys`, `call --pretty -d '{"tick":"0.001s","maxEvents":2}' TARGET wstun.demo.v1.Hub/WatchKeys`, ""},
	{"-plaintext ADDR wstun.demo.v1.Hub/Sum", "call --pretty TARGET wstun.demo.v1.Hub/Sum", ""},
	{"-plaintext ADDR wstun.demo.v1.Hub/Echo", "call --pretty TARGET wstun.demo.v1.Hub/Echo", ""},
	// "Adding Headers/Metadata to Request"
	{"-plaintext -v -H x-one:1 -H x-two:2 -d '{}' ADDR wstun.demo.v1.Hub/Sleep", "call --pretty -v --rpc-header x-one:1 --rpc-header x-two:2 -d '{}' TARGET wstun.demo.v1.Hub/Sleep", ""},
	// "Listing Services"
	{"-plaintext ADDR list", "list TARGET", ""},
	{"-protoset hub.protoset list", "list --protoset hub.protoset", ""},
	{"-import-path ROOT -proto commands/demo/hub.proto list", "list --import-path ROOT --proto commands/demo/hub.proto", ""},
	{"-plaintext ADDR list", "list -plaintext TARGET", ""},
	{"-plaintext -connect-timeout 20 ADDR list", "list TARGET -plaintext -connect-timeout 20", ""},
	{"-plaintext ADDR list wstun.demo.v1.Hub", "list TARGET wstun.demo.v1.Hub", ""},
	{"-protoset hub.protoset list wstun.demo.v1.Hub", "list --protoset hub.protoset wstun.demo.v1.Hub", ""},
	// "Describing Elements"
	{"-plaintext ADDR describe wstun.demo.v1.Hub.Sum", "describe TARGET wstun.demo.v1.Hub.Sum", ""},
	{"-protoset hub.protoset describe wstun.demo.v1.Hub.Sum", "describe --protoset hub.protoset wstun.demo.v1.Hub.Sum", ""},
	{"-import-path ROOT -proto commands/demo/hub.proto describe wstun.demo.v1.Hub.Sum", "describe --import-path ROOT --proto commands/demo/hub.proto wstun.demo.v1.Hub.Sum", ""},
	{"-plaintext ADDR describe", "describe TARGET", ""},
	{"-import-path ROOT -proto commands/demo/hub.proto describe", "describe --import-path ROOT --proto commands/demo/hub.proto", ""},
	{"-plaintext ADDR describe .wstun.demo.v1.KeyEvent", "describe TARGET .wstun.demo.v1.KeyEvent", ""},
	{"-plaintext -msg-template ADDR describe wstun.demo.v1.KeyEvent", "describe --msg-template TARGET wstun.demo.v1.KeyEvent", ""},
	{"-plaintext -msg-template -format text ADDR describe sink.All", "describe --msg-template --format text TARGET sink.All", ""},
	{"-plaintext -msg-template ADDR describe sink.All", "describe --msg-template TARGET sink.All", ""},
	{"-plaintext ADDR describe sink.Sink", "describe TARGET sink.Sink", ""},
	{"-plaintext ADDR describe sink.All.Inner", "describe TARGET sink.All.Inner", ""},
	{"-plaintext ADDR describe sink.All.InnersEntry", "describe TARGET sink.All.InnersEntry", ""},
	{"-plaintext ADDR describe sink.All.Old", "describe TARGET sink.All.Old", ""},
	{"-plaintext ADDR describe sink.All.old", "describe TARGET sink.All.old", ""},
	{"-plaintext ADDR describe sink.All.one", "describe TARGET sink.All.one", ""},
	{"-plaintext ADDR describe sink.All.id", "describe TARGET sink.All.id", ""},
	{"-plaintext ADDR describe sink.extra", "describe TARGET sink.extra", ""},
	{"-plaintext ADDR describe sink.Color", "describe TARGET sink.Color", ""},
	{"-plaintext ADDR describe sink.GREEN", "describe TARGET sink.GREEN", ""},
	{"-plaintext ADDR describe google.rpc.ErrorInfo", "describe TARGET google.rpc.ErrorInfo", ""},
	{"-import-path . -proto sink.proto describe sink.All", "describe --import-path . --proto sink.proto sink.All", ""},
	// -help
	{"-plaintext -v ADDR wstun.demo.v1.Hub/Sum", "call --pretty -v TARGET wstun.demo.v1.Hub/Sum", ""},
	{`-plaintext -v -d '{"name":"none"}' ADDR wstun.demo.v1.Hub/DeleteKey`, `call --pretty -v -d '{"name":"none"}' TARGET wstun.demo.v1.Hub/DeleteKey`, ""},
	{`-plaintext -v -d '{"tick":"-1s"}' ADDR wstun.demo.v1.Hub/WatchKeys`, `call --pretty -v -d '{"tick":"-1s"}' TARGET wstun.demo.v1.Hub/WatchKeys`, ""},
	{`-plaintext -vv -d '{"text":"a"}' ADDR wstun.demo.v1.Hub/Echo`, `call --pretty -vv -d '{"text":"a"}' TARGET wstun.demo.v1.Hub/Echo`, ""},
	{`-plaintext -format text -d 'text: "a"` + "\x1e" + `text: "b"' ADDR wstun.demo.v1.Hub/Echo`, `call --format text -d 'text: "a"` + "\x1e" + `text: "b"' TARGET wstun.demo.v1.Hub/Echo`, ""},
	{"-plaintext -format text ADDR wstun.demo.v1.Hub/Echo", `call --format text -d '' TARGET wstun.demo.v1.Hub/Echo`, ""},
	{`-plaintext -emit-defaults -d '{}' ADDR wstun.demo.v1.Hub/Sum`, `call --pretty --emit-defaults -d '{}' TARGET wstun.demo.v1.Hub/Sum`, ""},
	{`-plaintext -emit-defaults -d '{"maxEvents":1,"tick":"0.001s"}' ADDR wstun.demo.v1.Hub/WatchKeys`, `call --pretty --emit-defaults -d '{"maxEvents":1,"tick":"0.001s"}' TARGET wstun.demo.v1.Hub/WatchKeys`, ""},
	{`-plaintext -emit-defaults -d '{"id":1,"inners":{"k":{}}}' ADDR sink.Sink/Take`, `call --pretty --emit-defaults -d '{"id":1,"inners":{"k":{}}}' TARGET sink.Sink/Take`, ""},
	{`-plaintext -allow-unknown-fields -d '{"odd":1,"text":"x"}' ADDR wstun.demo.v1.Hub/Echo`, `call --pretty --allow-unknown-fields -d '{"odd":1,"text":"x"}' TARGET wstun.demo.v1.Hub/Echo`, ""},
	{"-plaintext -v -rpc-header x-one:1 ADDR wstun.demo.v1.Hub/Sleep", "call --pretty -v --rpc-header x-one:1 TARGET wstun.demo.v1.Hub/Sleep", ""},
	{"-plaintext -v -rpc-header 'x-raw-bin: AAEC' ADDR wstun.demo.v1.Hub/Sleep", "call --pretty -v --rpc-header 'x-raw-bin: AAEC' TARGET wstun.demo.v1.Hub/Sleep", ""},
	{"-plaintext -v -expand-headers -H 'x-one: ${ONE}' ADDR wstun.demo.v1.Hub/Sleep", "call --pretty -v --expand-headers --rpc-header 'x-one: ${ONE}' TARGET wstun.demo.v1.Hub/Sleep", ""},
	{"-plaintext -reflect-header x-deny:1 ADDR list", "list --reflect-header x-deny:1 TARGET", ""},
	{"-plaintext -v -authority hub.example ADDR wstun.demo.v1.Hub/Sleep", "call --pretty -v --authority hub.example TARGET wstun.demo.v1.Hub/Sleep", ""},
	{`-plaintext -max-time 3 -d '{"duration":"20s"}' ADDR wstun.demo.v1.Hub/Sleep`, `call --pretty --max-time 3 -d '{"duration":"20s"}' TARGET wstun.demo.v1.Hub/Sleep`, ""},
	{"-plaintext -max-msg-sz 67108864 ADDR wstun.demo.v1.Hub/GetTemplates", "call --pretty --max-msg-sz 67108864 TARGET wstun.demo.v1.Hub/GetTemplates", ""},
	{"-plaintext -max-msg-sz 100000 ADDR wstun.demo.v1.Hub/GetTemplates", "call --pretty --max-msg-sz 100000 TARGET wstun.demo.v1.Hub/GetTemplates", ""},
	{`-plaintext -format-error -d '{"name":"none"}' ADDR wstun.demo.v1.Hub/DeleteKey`, `call --pretty --format-error -d '{"name":"none"}' TARGET wstun.demo.v1.Hub/DeleteKey`, ""},
	{`-plaintext -protoset hub.protoset -d '{"text":"x"}' ADDR wstun.demo.v1.Hub/Echo`, `call --pretty --protoset hub.protoset -d '{"text":"x"}' TARGET wstun.demo.v1.Hub/Echo`, ""},
	{
		`-plaintext -protoset hub.protoset -use-reflection -d '{"id":1,"any":{"@type":"x/wstun.demo.v1.Key","name":"k"}}' ADDR sink.Sink/Take`,
		`call --pretty --protoset hub.protoset --use-reflection -d '{"id":1,"any":{"@type":"x/wstun.demo.v1.Key","name":"k"}}' TARGET sink.Sink/Take`, "",
	},
	{
		`-plaintext -d '{"id":1,"colors":["VERT"],"inners":{"k":{"d":0.1}},"that":"AAE=","old":{"very":false},"value":[null],"[sink.extra]":"e"}' ADDR sink.Sink/Take`,
		`call --pretty -d '{"id":1,"colors":["VERT"],"inners":{"k":{"d":0.1}},"that":"AAE=","old":{"very":false},"value":[null],"[sink.extra]":"e"}' TARGET sink.Sink/Take`, "",
	},
	// symbols that don't exist
	{"-plaintext ADDR wstun.demo.v1.Hub/Nonsense", "call TARGET wstun.demo.v1.Hub/Nonsense", ""},
	{"-plaintext ADDR nonsense.Nonsense/Nonsense", "call TARGET nonsense.Nonsense/Nonsense", ""},
	{"-plaintext ADDR list nonsense.Nonsense", "list TARGET nonsense.Nonsense", ""},
	{"-plaintext ADDR describe nonsense.Nonsense", "describe TARGET nonsense.Nonsense", ""},
}

// mistakes has wrong command lines. wstun ends with status 2, and grpcurl with 2 or, if it
// finds the mistake late, with 1.
var mistakes = []comparison{
	{"-plaintext -d '{oops' ADDR wstun.demo.v1.Hub/Sum", "call -d '{oops' TARGET wstun.demo.v1.Hub/Sum", ""},
	{`-plaintext -d '{"odd":1}' ADDR wstun.demo.v1.Hub/Echo`, `call -d '{"odd":1}' TARGET wstun.demo.v1.Hub/Echo`, ""},
	{`-plaintext -d '{"name":"a"}{"name":"b"}' ADDR wstun.demo.v1.Hub/CreateKey`, `call -d '{"name":"a"}{"name":"b"}' TARGET wstun.demo.v1.Hub/CreateKey`, ""},
	{"-plaintext -protoset hub.protoset -proto commands/demo/hub.proto list", "list --protoset hub.protoset --proto commands/demo/hub.proto", ""},
	{"-plaintext -protoset missing ADDR list", "list --protoset missing TARGET", ""},
	{"-plaintext ADDR", "call TARGET", ""},
	{"list", "list", ""},
	{"-plaintext -expand-headers -H 'x: ${MISSING}' ADDR list", "list --expand-headers --reflect-header 'x: ${MISSING}' TARGET", ""},
}

// plainComparisons has comparisons without TARGET, for features of plain servers: grpcurl's
// -H, unix sockets, TLS, and failing connections.
var plainComparisons = []comparison{
	{"-plaintext -v -H x-one:1 -H x-two:2 ADDR wstun.demo.v1.Hub/Sleep", "call --pretty -v -H x-one:1 -H x-two:2 ADDR wstun.demo.v1.Hub/Sleep", ""},
	{"-plaintext -H x-deny:1 ADDR list", "list -H x-deny:1 ADDR", ""},
	{"-plaintext -unix SOCKET list", "list unix:SOCKET", ""},
	{"-plaintext -unix SOCKET list", "list -plaintext -unix SOCKET", ""},
	{"-plaintext -connect-timeout 1 DEAD list", "list -plaintext -connect-timeout 1 DEAD", ""},
	// README, "Invoking RPCs"
	{"-cacert ca.pem SECURE wstun.demo.v1.Hub/Sleep", "call --pretty --tls --cacert ca.pem SECURE wstun.demo.v1.Hub/Sleep", ""},
	// -help
	{"-cacert ca.pem -cert client.pem -key client.key SECURE list", "list --tls --cacert ca.pem --cert client.pem --key client.key SECURE", ""},
	{"-insecure SECURE list", "list --tls --insecure --log-level error SECURE", ""},
	{"-cacert ca.pem -servername 127.0.0.1 SECURE list", "list --tls --cacert ca.pem --servername 127.0.0.1 SECURE", ""},
	{"-cacert ca.pem -servername other.example SECURE list", "list --tls --cacert ca.pem --servername other.example SECURE", ""},
	{"SECURE list", "list --tls SECURE", ""},
	{"-cacert other.pem SECURE list", "list --tls --cacert other.pem SECURE", ""},
	{"-connect-timeout 1 ADDR list", "list --tls ADDR", ""},
	{"-plaintext -connect-timeout 1 SECURE list", "list --connect-timeout 1s SECURE", ""},
}

// plainMistakes has mistakes without TARGET.
var plainMistakes = []comparison{
	{"-cert client.pem SECURE list", "list --tls --cert client.pem SECURE", ""},
	{"-plaintext -insecure ADDR list", "list --insecure ADDR", ""},
	{"-cacert missing.pem SECURE list", "list --tls --cacert missing.pem SECURE", ""},
}
