package mux

import "testing"

// AnnounceGoAway still accepts streams; after GoAway they are refused.
func TestAnnounceGoAway(t *testing.T) {
	t.Parallel()
	s, p := startWithRawPeer(t, Server, nil)
	s.AnnounceGoAway()
	p.expect(typeGoAway, 0, 0, goAwayNormal)
	p.send(typeWindowUpdate, flagSYN, 1, 0)
	stream, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p.expect(typeWindowUpdate, flagACK, 1, 0)
	if err := s.GoAway(); err != nil {
		t.Fatal(err)
	}
	p.expect(typeGoAway, 0, 0, goAwayNormal)
	p.send(typeWindowUpdate, flagSYN, 3, 0)
	p.expect(typeWindowUpdate, flagRST, 3, 0)
	p.sendData(0, 1, "still open")
	mustRead(t, stream, "still open")
}
