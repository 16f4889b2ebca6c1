package wsmux_test

import (
	"net"

	"github.com/gorilla/websocket"
	"github.com/hashicorp/yamux"
	"google.golang.org/grpc"

	"github.com/wstun/wstun/tunnel/wsmux"
)

// These names keep their types until version 2.
var (
	_ func(*websocket.Conn) net.Conn                                                  = wsmux.WrapConn
	_ func(*websocket.Conn, func(*grpc.Server)) (*grpc.Server, *yamux.Session, error) = wsmux.ServeGRPC
	_ func(*websocket.Conn) (*grpc.ClientConn, *yamux.Session, error)                 = wsmux.DialGRPC
)

const _ = uint(wsmux.MaxMsgSize - 64<<20) // it may grow, but not shrink
