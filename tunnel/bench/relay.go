package main

import (
	"context"
	"io"
	"net"
	"strconv"
	"time"
)

// link is the simulated network between the two processes of a system. The zero link is
// loopback without a relay.
type link struct {
	delay time.Duration // in each direction
	rate  int           // bytes per second and direction, for all connections; 0: no limit
}

const (
	// smallChunk is the size of a packet on a link with a rate. It is small so that
	// connections don't wait long for each other.
	smallChunk = 4 * 1024

	// maxQueued is how many packets a link with a rate queues, like a router. More
	// bytes wait in the socket's buffer.
	maxQueued = 16

	// linkSocketBuffer is the size of the socket buffers on both sides of a link with
	// a rate. With smaller ones the link wouldn't be full, because a packet on loopback
	// has up to 64 KiB.
	linkSocketBuffer = 64 * 1024

	// oversleep is how late a timer may fire without a loss of rate.
	oversleep = 2 * time.Millisecond

	// largeChunk is the size of a packet on a link without a rate, and maxInFlight how
	// many packets may be in flight in one direction of a connection: enough for a
	// gigabyte per second and 50 ms.
	largeChunk  = 64 * 1024
	maxInFlight = 1024
)

// via starts the testbed's link to addr, if it has one, and returns the address to use
// instead of addr.
func (tb *testbed) via(ctx context.Context, addr string) (string, error) {
	if tb.link == (link{}) {
		return addr, nil
	}
	return tb.startOwn(ctx, "link", addr, tb.link.delay.String(), strconv.Itoa(tb.link.rate))
}

// runLink runs a link. Its arguments are the address to connect to, the delay and the
// rate.
func runLink(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	if err := arguments(args, 3); err != nil {
		return err
	}
	var lk link
	var err error
	if lk.delay, err = time.ParseDuration(args[1]); err != nil {
		return err
	}
	if lk.rate, err = strconv.Atoi(args[2]); err != nil {
		return err
	}
	l, err := listenTCP(ctx)
	if err != nil {
		return err
	}
	up, down := lk.newDirection(), lk.newDirection()
	return serveConns(ctx, l, stdin, stdout, func(near net.Conn) {
		far, err := dialTCP(ctx, args[0])
		if err != nil {
			_ = near.Close()
			return
		}
		if lk.rate > 0 {
			for _, conn := range []net.Conn{near, far} {
				if tc, ok := conn.(*net.TCPConn); ok {
					_ = tc.SetReadBuffer(linkSocketBuffer)
					_ = tc.SetWriteBuffer(linkSocketBuffer)
				}
			}
		}
		go up.forward(far, near)
		down.forward(near, far)
	})
}

// linkDirection is one direction of a link, shared by all connections.
type linkDirection struct {
	link
	queue chan packet // nil without a rate
}

// packet is bytes in flight. A packet without bytes is the end of a connection.
type packet struct {
	data []byte
	due  time.Time     // when they arrive
	line chan<- packet // the connection's queue for deliver
}

func (l link) newDirection() *linkDirection {
	w := &linkDirection{link: l}
	if l.rate > 0 {
		w.queue = make(chan packet, maxQueued)
		go w.transmit()
	}
	return w
}

// transmit sends the packets of the queue at the link's rate, in order.
func (w *linkDirection) transmit() {
	var free time.Time // when the previous packet has been sent
	for p := range w.queue {
		if earliest := time.Now().Add(-oversleep); free.Before(earliest) {
			free = earliest
		}
		free = free.Add(time.Duration(len(p.data)) * time.Second / time.Duration(w.rate))
		<-time.After(time.Until(free))
		p.due = free.Add(w.delay)
		p.line <- p
	}
}

// forward copies src to dst through the link, including the end.
func (w *linkDirection) forward(dst, src net.Conn) {
	// A connection whose dst doesn't read must not block transmit for the others, so
	// line has room for all its packets in flight.
	places := make(chan struct{}, maxInFlight)
	line := make(chan packet, maxInFlight)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		deliver(dst, line, places)
		_ = src.Close()
	}()
	size := largeChunk
	if w.queue != nil {
		size = smallChunk
	}
	for {
		places <- struct{}{}
		buf := make([]byte, size)
		n, err := src.Read(buf)
		p := packet{data: buf[:n], line: line}
		if w.queue != nil {
			w.queue <- p
		} else {
			p.due = time.Now().Add(w.delay)
			line <- p
		}
		if err != nil {
			<-ended
			return
		}
	}
}

// deliver writes the packets of line to dst when they are due, until the one without
// bytes.
func deliver(dst net.Conn, line <-chan packet, places <-chan struct{}) {
	var err error
	for p := range line {
		<-time.After(time.Until(p.due))
		if len(p.data) == 0 {
			closeWrite(dst)
			return
		}
		if err == nil {
			_, err = dst.Write(p.data)
		}
		<-places
	}
}
