package mux

import (
	"io"
	"testing"
)

// benchPair returns the two ends of a stream over TCP.
func benchPair(b *testing.B) (opened, accepted *Stream) {
	b.Helper()
	client, server := sessionPair(b, nil)
	return streamPair(b, client, server)
}

func BenchmarkThroughput(b *testing.B) {
	from, to := benchPair(b)
	block := make([]byte, 128*1024)
	b.SetBytes(int64(len(block)))
	b.ReportAllocs()
	done := make(chan error, 1)
	go func() {
		_, err := io.CopyN(io.Discard, to, int64(b.N)*int64(len(block)))
		done <- err
	}()
	b.ResetTimer()
	for range b.N {
		if _, err := from.Write(block); err != nil {
			b.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	from, to := benchPair(b)
	go func() { _, _ = io.Copy(to, to) }()
	message := make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := from.Write(message); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(from, message); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	client, server := sessionPair(b, nil)
	go func() {
		for {
			st, err := server.Accept()
			if err != nil {
				return
			}
			_ = st.Close()
		}
	}()
	b.ReportAllocs()
	for b.Loop() {
		st, err := client.Open(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		_ = st.Close()
	}
}
