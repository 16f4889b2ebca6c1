// Package recording has the format of recordings: JSON, one object a line, of everything
// that a session's calls consisted of.
//
//	rec, err := recording.Read(file)
//	for _, c := range rec.Calls {
//		if c.Problem() == "" {
//			… c.Method(), c.Events
//		}
//	}
//
// [Pcapng] converts recordings for Wireshark.
//
// # The format
//
// The member event says what a line is. The first line of a file is the header. Readers
// ignore lines, members, events and types that they don't know, and refuse a higher version:
//
//	{"event":"recording","time":"2026-01-02T15:04:05.6Z","version":1,"wstun":"1.0.0"}
//
// "secrets":true says that secrets weren't removed, and "continued":true that the file
// before has the beginning: their lines may be read after each other.
//
// Descriptors precede the first event that needs them, and are in each file. files is a
// google.protobuf.FileDescriptorSet in base64, with files that no line before had, or with new
// versions of them:
//
//	{"event":"schema","time":"…","files":"CrAHCg…"}
//
// All other lines are events. type is that of [trace.Event]: client_header, server_header,
// client_message, server_message, client_half_close and server_trailer, cancel or cut belong
// to a call; goaway, other and lost don't. call numbers the calls of a process, seq the
// events of a call from 1; if numbers are missing, events are:
//
//	{"event":"rpc","time":"…","session":1,"stream":3,"call":7,"seq":1,"type":"client_header","method":"/pkg.Service/Method","authority":"localhost","timeout_ms":5000,"metadata":{"user-agent":["grpc-go/1.85.0"]}}
//	{"event":"rpc",…,"seq":2,"type":"client_message","size":4,"message":{"name":"z9"},"data":"CgJ6OQ=="}
//	{"event":"rpc",…,"seq":4,"type":"server_message","size":70,"message":{"name":"z9","secret":"[redacted]"},"redacted":["secret"],"data":"CgJ6OR…"}
//	{"event":"rpc",…,"seq":5,"type":"server_trailer","status":{"code":6,"name":"ALREADY_EXISTS","message":"…","details":[…],"data":"CAYS…"},"ms":0.4,"sent":{"messages":1,"bytes":4},"received":{"messages":0,"bytes":0}}
//	{"event":"rpc",…,"type":"cancel","by":"client","code":"CANCEL","ms":30.2,…}
//	{"event":"rpc","time":"…","type":"lost","lost":{"events":1204,"bytes":3145728}}
//
// data has the bytes of a message in base64, decompressed; it is missing if they aren't
// recorded, and truncated says that it isn't all of them. size and compressed describe the
// message as sent. message is the same for people and for jq, where it is short and its type
// is known. redacted lists the fields whose values were removed from data: strings and bytes
// are "[redacted]", others have no value. data in status is the google.rpc.Status, if it has
// details. Metadata whose names end in -bin has base64. If secrets are kept, sensitive lists the
// names of the metadata that would have lost its values.
package recording
