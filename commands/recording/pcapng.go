package recording

type Pcapng struct{}

func NewPcapng() *Pcapng                         { return nil }
func (*Pcapng) Start(b []byte) []byte            { return b }
func (*Pcapng) Restart()                         {}
func (*Pcapng) Append(b []byte, _ []byte) []byte { return b }
func IsPcapng([]byte) bool                       { return false }
