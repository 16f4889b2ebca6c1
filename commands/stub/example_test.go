package stub_test

import (
	"context"
	"fmt"
	"log"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/commands/stub"
)

func Example() {
	answers, err := stub.Parse("hub.yaml", []byte(`
methods:
  wstun.demo.v1.Hub/CreateKey:
    - when: {name: taken}
      error: {code: ALREADY_EXISTS, message: the key exists}
    - reply: {name: k1, secret: s}
`), protoregistry.GlobalFiles)
	if err != nil {
		log.Print(err)
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Print(err)
		return
	}
	server := grpc.NewServer(answers.ServerOption())
	defer server.GracefulStop()
	defer answers.Close() // before GracefulStop
	go func() { _ = server.Serve(listener) }()

	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Print(err)
		return
	}
	defer conn.Close()
	hub := demo.NewHubClient(conn)
	for _, name := range []string{"new", "taken"} {
		key, err := hub.CreateKey(context.Background(), &demo.CreateKeyRequest{Name: name})
		fmt.Printf("%s: %q, %v\n", name, key.GetSecret(), status.Code(err))
	}
	// Output:
	// new: "s", OK
	// taken: "", AlreadyExists
}
