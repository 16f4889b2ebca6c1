//go:build unix

package e2e

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/hashicorp/yamux"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/wstun/wstun/tunnel/wsmux"
)

const (
	hostileToken = "hub/token+0123"

	// controls is for the terminal: it clears the screen, sets the title and the color,
	// reverses the direction, and hides characters.
	controls = "\x1b[2J\x1b]0;x\a\u009b31m\u202e\u2066\u200b\u2028\U000e0041\ufeff\ufe0f\x7f"

	// forgery looks like a line of wstun's own.
	forgery = "\nwstun: hint: forged\r\nwstun: forged\n"
)

// tokenForms are the forms in which the peer repeats the token.
func tokenForms() []string {
	return []string{
		hostileToken, strings.ToUpper(hostileToken), url.QueryEscape(hostileToken), strings.ToLower(url.QueryEscape(hostileToken)),
		base64.StdEncoding.EncodeToString([]byte("user:" + hostileToken)), base64.RawURLEncoding.EncodeToString([]byte("Bearer " + hostileToken)),
	}
}

func hostileText() string {
	return "begin" + controls + forgery + strings.Join(tokenForms(), " ") + " \xff end"
}

// hostileHeader is a value that HTTP allows: it has no ASCII controls.
func hostileHeader() string { return "\u009b31m\u202e\u200b" + strings.Join(tokenForms(), " ") }

// hostilePeer is a gRPC server, and a WebSocket server in front of it, whose every text is
// hostile.
type hostilePeer struct {
	plain string // address of the gRPC server
	ws    string // URL of the WebSocket server, without a path
	wss   string // likewise with TLS; its certificate's names are hostile, too
	noise string // URL of a server that doesn't speak HTTP
}

func startHostilePeer(t *testing.T) *hostilePeer {
	t.Helper()
	calls := &hostileCalls{server: grpc.NewServer(grpc.UnknownServiceHandler(hostileCall))}
	grpc_reflection_v1.RegisterServerReflectionServer(calls.server, hostileReflection{})
	t.Cleanup(calls.server.Stop)

	server := &http.Server{Handler: calls, Protocols: new(http.Protocols), ErrorLog: log.New(io.Discard, "", 0)}
	server.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(func() { server.Close() })
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(plain) // until it is closed
	noise := serveConns(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1<<10))
		_, _ = io.WriteString(conn, "HTTP/1.1 "+strings.ReplaceAll(hostileText(), "\n", " ")+"\r\n\r\n")
	})
	handler := http.NewServeMux()
	handler.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		if conn := upgrade(w, r); conn != nil {
			serveSession(server, conn)
		}
	})
	handler.HandleFunc("/noise", func(w http.ResponseWriter, r *http.Request) {
		if conn := upgrade(w, r); conn != nil {
			_ = conn.WriteMessage(websocket.BinaryMessage, []byte(hostileText()))
			_, _, _ = conn.ReadMessage()
		}
	})
	handler.HandleFunc("/close/", func(w http.ResponseWriter, r *http.Request) {
		if conn := upgrade(w, r); conn != nil {
			reason := controls + forgery + strings.TrimPrefix(r.URL.Path, "/close/")
			_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.ClosePolicyViolation, reason), time.Now().Add(time.Second))
			_, _, _ = conn.ReadMessage()
		}
	})
	for path, value := range map[string]string{"/refuse": hostileHeader(), "/malformed": hostileText()} {
		handler.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			for _, name := range []string{"Server", "Location", "WWW-Authenticate"} {
				w.Header().Set(name, value)
			}
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, controls+strings.Join(tokenForms(), " ")+forgery)
		})
	}
	insecure, secure := httptest.NewServer(handler), httptest.NewUnstartedServer(handler)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{hostileCertificate(t)}}
	secure.StartTLS()
	for _, server := range []*httptest.Server{insecure, secure} {
		t.Cleanup(server.Close)
	}
	return &hostilePeer{plain.Addr().String(), "ws" + strings.TrimPrefix(insecure.URL, "http"), "ws" + strings.TrimPrefix(secure.URL, "http"), "ws://" + noise.Addr().String()}
}

// serveConns serves connections until t ends.
func serveConns(t *testing.T, serve func(net.Conn)) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return l
}

// upgrade returns the WebSocket, nil if there is none. The peer closes it.
func upgrade(w http.ResponseWriter, r *http.Request) *websocket.Conn {
	conn, err := new(websocket.Upgrader).Upgrade(w, r, nil)
	if err != nil {
		return nil
	}
	return conn
}

// hostileCertificate returns a certificate that is about to expire.
func hostileCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		Subject:  pkix.Name{CommonName: strings.ToValidUTF8(hostileText(), "")},
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// hostileCalls adds hostile headers and trailers to the responses of server.
type hostileCalls struct{ server *grpc.Server }

func (c *hostileCalls) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Hostile", hostileHeader())
	w.Header().Set(http.TrailerPrefix+"X-Hostile-Trailer", hostileHeader())
	c.server.ServeHTTP(w, r)
}

// serveSession serves the streams of a yamux session on conn until it ends.
func serveSession(server *http.Server, conn *websocket.Conn) {
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	session, err := yamux.Server(wsmux.WrapConn(conn), config)
	if err == nil {
		_ = server.Serve(session)
	}
}

// hostileCall answers calls of all methods but those of reflection.
func hostileCall(_ any, stream grpc.ServerStream) error {
	for stream.RecvMsg(new(anypb.Any)) == nil { // to the end of the requests
	}
	method, _ := grpc.MethodFromServerStream(stream)
	switch {
	case strings.HasSuffix(method, "/Say"), strings.HasSuffix(method, "/Token"):
		text := strings.ToValidUTF8("begin"+controls+forgery+"end", "")
		if strings.HasSuffix(method, "/Token") {
			text = hostileToken
		}
		file, err := protodesc.NewFile(hostileFile(), protoregistry.GlobalFiles)
		if err != nil {
			return err
		}
		m := dynamicpb.NewMessage(file.Messages().ByName("Text"))
		m.Set(m.Descriptor().Fields().ByName("text"), protoreflect.ValueOfString(text))
		if text != hostileToken {
			m.Set(m.Descriptor().Fields().ByName("any"), protoreflect.ValueOfMessage((&anypb.Any{TypeUrl: text + "/google.rpc.ErrorInfo"}).ProtoReflect()))
		}
		return stream.SendMsg(m)
	case strings.HasSuffix(method, "/Check"):
		return status.Error(codes.PermissionDenied, hostileText())
	}
	text := strings.ToValidUTF8(hostileText(), "")
	s := status.New(codes.Aborted, hostileText()).Proto()
	info, err := anypb.New(&errdetails.ErrorInfo{Reason: text, Metadata: map[string]string{text: text}})
	if err != nil {
		return err
	}
	s.Details = []*anypb.Any{info, {TypeUrl: text + "/google.rpc.ErrorInfo"}, {TypeUrl: text, Value: []byte(text)}, {TypeUrl: text + "/google.rpc.ErrorInfo", Value: []byte("\xff")}}
	s.Message = text // protobuf's strings are UTF-8
	return status.ErrorProto(s)
}

// hostileFile returns the descriptors of the service hostile.Hostile.
func hostileFile() *descriptorpb.FileDescriptorProto {
	text := hostileText()
	utf8 := strings.ToValidUTF8(text, "")
	field := func(name, jsonName string, number int32, kind descriptorpb.FieldDescriptorProto_Type) *descriptorpb.FieldDescriptorProto {
		return &descriptorpb.FieldDescriptorProto{Name: &name, JsonName: &jsonName, Number: &number, Type: kind.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()}
	}
	note := field("note", utf8, 2, descriptorpb.FieldDescriptorProto_TYPE_STRING)
	note.DefaultValue = &utf8
	some := field("any", "any", 3, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE)
	some.TypeName = new(".google.protobuf.Any")
	service := &descriptorpb.ServiceDescriptorProto{Name: new("Hostile")}
	for _, name := range []string{"Say", "Token", "Fail", "Stream"} {
		service.Method = append(service.Method, &descriptorpb.MethodDescriptorProto{
			Name: &name, InputType: new(".hostile.Text"), OutputType: new(".hostile.Text"), ClientStreaming: new(name == "Stream"),
		})
	}
	comment := func(path ...int32) *descriptorpb.SourceCodeInfo_Location {
		return &descriptorpb.SourceCodeInfo_Location{Path: path, Span: []int32{0, 0, 0}, LeadingComments: &text, TrailingComments: &text}
	}
	return &descriptorpb.FileDescriptorProto{
		Name: new("hostile.proto"), Package: new("hostile"), Syntax: new("proto2"), Dependency: []string{"google/protobuf/any.proto"},
		MessageType: []*descriptorpb.DescriptorProto{{Name: new("Text"), Field: []*descriptorpb.FieldDescriptorProto{
			field("text", "te\u202ext", 1, descriptorpb.FieldDescriptorProto_TYPE_STRING), note, some,
		}}},
		Service:        []*descriptorpb.ServiceDescriptorProto{service},
		SourceCodeInfo: &descriptorpb.SourceCodeInfo{Location: []*descriptorpb.SourceCodeInfo_Location{comment(4, 0), comment(4, 0, 2, 0), comment(6, 0), comment(6, 0, 2, 0)}},
	}
}

// hostileReflection knows hostileFile, and reports services that don't exist.
type hostileReflection struct {
	grpc_reflection_v1.UnimplementedServerReflectionServer
}

func (hostileReflection) ServerReflectionInfo(stream grpc.BidiStreamingServer[grpc_reflection_v1.ServerReflectionRequest, grpc_reflection_v1.ServerReflectionResponse]) error {
	text := strings.ToValidUTF8(hostileText(), "")
	for {
		request, err := stream.Recv()
		if err != nil {
			return nil //nolint:nilerr // the client is done
		}
		response := &grpc_reflection_v1.ServerReflectionResponse{OriginalRequest: request}
		switch {
		case request.GetListServices() != "":
			response.MessageResponse = &grpc_reflection_v1.ServerReflectionResponse_ListServicesResponse{ListServicesResponse: &grpc_reflection_v1.ListServiceResponse{
				Service: []*grpc_reflection_v1.ServiceResponse{{Name: "hostile.Hostile"}, {Name: text}, {Name: "hostile.Hostil"}},
			}}
		case strings.HasPrefix(request.GetFileContainingSymbol(), "hostile.Hostile"), request.GetFileContainingSymbol() == "hostile.Text":
			files := [][]byte{}
			bad := &descriptorpb.FileDescriptorProto{Name: new("bad" + text), MessageType: []*descriptorpb.DescriptorProto{{Name: &text}}}
			for _, file := range []*descriptorpb.FileDescriptorProto{hostileFile(), bad} {
				data, err := proto.Marshal(file)
				if err != nil {
					return err
				}
				files = append(files, data)
			}
			response.MessageResponse = &grpc_reflection_v1.ServerReflectionResponse_FileDescriptorResponse{FileDescriptorResponse: &grpc_reflection_v1.FileDescriptorResponse{FileDescriptorProto: files}}
		default:
			response.MessageResponse = &grpc_reflection_v1.ServerReflectionResponse_ErrorResponse{ErrorResponse: &grpc_reflection_v1.ErrorResponse{ErrorCode: int32(codes.Internal), ErrorMessage: text}}
		}
		if err := stream.Send(response); err != nil {
			return err
		}
	}
}
