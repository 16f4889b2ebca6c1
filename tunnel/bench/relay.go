package main

import (
	"context"
	"io"
	"net"
	"strconv"
	"time"
)

// link is what lies between the two processes of a system. The zero link is
// loopback itself.
type link struct {
	delay time.Duration // each way
	rate  int           // bytes per second each way, for all connections; 0: as it comes
}

const (
	// piece is what the link takes up at a time, if it has a rate: little, so
	// that nobody waits long for the turn.
	piece = 4 * 1024

	// queued is how many pieces wait for a link with a rate: a router's buffer.
	// Before it, there is what the socket holds.
	queued = 16

	// linkSocketBuffer is the size of sockets' buffers in front of and behind a
	// link with a rate. Less would not fill it: a packet on loopback is as large.
	linkSocketBuffer = 64 * 1024

	// oversleep is how late a timer may be: what it costs is caught up with.
	oversleep = 2 * time.Millisecond

	// bigPiece is what a link without a rate takes up at a time, and underWay
	// how many of these may be delayed in one direction of a connection: enough
	// for a gigabyte per second and 50 ms.
	bigPiece = 64 * 1024
	underWay = 1024
)

// via puts the stage's link in front of addr.
func (st *stage) via(ctx context.Context, addr string) (string, error) {
	if st.link == (link{}) {
		return addr, nil
	}
	return st.startSelf(ctx, "link", addr, st.link.delay.String(), strconv.Itoa(st.link.rate))
}

// runLink is a link as a process. Its arguments are where it leads to, its delay
// and its rate.
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
	up, down := lk.newWay(), lk.newWay()
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
		go up.pass(far, near)
		down.pass(near, far)
	})
}

// way is one of the link's two. All connections share it.
type way struct {
	link
	queue chan packet // nil without a rate
}

// packet is bytes under way.
type packet struct {
	data []byte
	due  time.Time     // when they arrive
	line chan<- packet // where they go after their turn
}

func (l link) newWay() *way {
	w := &way{link: l}
	if l.rate > 0 {
		w.queue = make(chan packet, queued)
		go w.takeTurns()
	}
	return w
}

// takeTurns lets the queue pass at the link's rate, first come, first served.
func (w *way) takeTurns() {
	var free time.Time // when the link has sent what came before
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

// pass passes bytes from src on to dst, and then the end.
func (w *way) pass(dst, src net.Conn) {
	// A connection that doesn't take its bytes must not hold up the others: it
	// has a place in line for everything that it has under way.
	places := make(chan struct{}, underWay)
	line := make(chan packet, underWay)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		deliver(dst, line, places)
		_ = src.Close()
	}()
	size := bigPiece
	if w.queue != nil {
		size = piece
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

// deliver writes what is in line to dst when it is due, until a packet without
// bytes: the end.
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
