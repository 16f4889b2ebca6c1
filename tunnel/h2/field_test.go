package h2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// blocks returns the encoded header lists, which are name and value in turn. Sensitive ones
// aren't indexed.
func blocks(lists ...[]string) (encoded [][]byte) {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for _, list := range lists {
		for i := 0; i < len(list); i += 2 {
			_ = e.WriteField(hpack.HeaderField{Name: list[i], Value: list[i+1]})
		}
		encoded = append(encoded, bytes.Clone(b.Bytes()))
		b.Reset()
	}
	return encoded
}

func (d *FieldDecoder) all(blocks [][]byte) (values []string) {
	for _, block := range blocks {
		d.Write(block)
		value, err := d.End()
		if err != nil {
			value = "error"
		}
		values = append(values, value)
	}
	return values
}

func TestFieldDecoder(t *testing.T) {
	t.Parallel()
	header := []string{":status", "200", "content-type", "application/grpc"}
	trailer := []string{"grpc-status", "0", "grpc-message", ""}
	long := "/" + strings.Repeat("m", 2000)
	for name, test := range map[string]struct {
		field   string
		lists   [][]string
		want    []string
		results int
	}{
		"alternating":      {"grpc-status", [][]string{header, trailer, header, trailer, header, trailer}, []string{"", "0", "", "0", "", "0"}, 2},
		"another status":   {"grpc-status", [][]string{trailer, trailer, {"grpc-status", "5"}, trailer, {"grpc-status", "5"}}, []string{"0", "0", "5", "0", "5"}, 2},
		"four methods":     {":path", [][]string{{":path", "/a"}, {":path", "/b"}, {":path", "/c"}, {":path", "/d"}, {":path", "/a"}, {":path", "/b"}, {":path", "/c"}, {":path", "/d"}, {":path", "/a"}}, []string{"/a", "/b", "/c", "/d", "/a", "/b", "/c", "/d", "/a"}, 3},
		"changing timeout": {":path", [][]string{{":path", "/a"}, {":path", "/a"}, {":path", "/a", "grpc-timeout", "1S"}, {":path", "/a", "grpc-timeout", "2S"}}, []string{"/a", "/a", "/a", "/a"}, 0},
		"long":             {":path", [][]string{{":path", long}, {":path", long}}, []string{long[:512], long[:512]}, 1},
		"twice":            {"grpc-status", [][]string{{"grpc-status", "1", "grpc-status", "2"}}, []string{"2"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &FieldDecoder{Name: test.field}
			if got := d.all(blocks(test.lists...)); !slices.Equal(got, test.want) || len(d.results) != test.results {
				t.Errorf("%q with %d results, want %q with %d", got, len(d.results), test.want, test.results)
			}
		})
	}
}

// The same bytes have another meaning after the table has changed.
func TestFieldDecoderAfterChange(t *testing.T) {
	t.Parallel()
	literal := func(value string) []byte { return append([]byte{0x44, byte(len(value))}, value...) } // :path, indexed
	latest := []byte{0xbe}
	d := &FieldDecoder{Name: ":path"}
	got := d.all([][]byte{literal("/a"), latest, latest, literal("/b"), latest, {0x20}, latest, latest})
	if want := []string{"/a", "/a", "/a", "/b", "/b", "", "error", "error"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestFieldDecoderFails(t *testing.T) {
	t.Parallel()
	for name, block := range map[string][]byte{
		"long block":  bytes.Repeat([]byte{0x82}, maxBlock+1),
		"large table": append([]byte{0x3f}, binary.AppendUvarint(nil, maxTable+1-31)...),
		"wrong index": {0xff, 0x7f},
		"truncated":   {0x44, 5, 'a'},
	} {
		d := &FieldDecoder{Name: ":path"}
		valid := blocks([]string{":path", "/a"})[0]
		if got, want := d.all([][]byte{valid, block, valid}), []string{"/a", "error", "error"}; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		if d.block != nil || d.decoder != nil {
			t.Errorf("%s: it keeps memory", name)
		}
	}
	if d := (&FieldDecoder{}); !errors.Is(func() error { d.Write(make([]byte, maxBlock+1)); _, err := d.End(); return err }(), errLongBlock) {
		t.Error("a long block is accepted")
	}
}

func TestFieldDecoderSteadyState(t *testing.T) {
	d := &FieldDecoder{Name: "grpc-status"}
	list := []string{":status", "200", "content-type", "application/grpc"}
	encoded := blocks(list, []string{"grpc-status", "0"}, list, []string{"grpc-status", "0"})
	d.all(encoded)
	allocs := testing.AllocsPerRun(100, func() {
		for _, block := range encoded[2:] {
			d.Write(block)
			if _, err := d.End(); err != nil {
				t.Fatal(err)
			}
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations, want 0", allocs)
	}
}

// FuzzFieldDecoder compares it with hpack. The input is a
// sequence of blocks, each with its length in a byte before it.
func FuzzFieldDecoder(f *testing.F) {
	for _, lists := range [][][]string{
		{{":path", "/a"}, {":path", "/a"}, {":path", "/a", "grpc-timeout", "1S"}, {":path", "/a"}},
		{{":status", "200"}, {"grpc-status", "0"}, {":path", "/a"}, {":path", "/b"}, {":path", "/a"}, {":path", "/a"}, {":path", "/b"}},
	} {
		var input []byte
		for _, block := range blocks(lists...) {
			input = append(append(input, byte(len(block))), block...)
		}
		f.Add(input)
	}
	f.Add([]byte("\x04\x44\x02/a\x01\xbe\x01\xbe\x04\x44\x02/b\x01\xbe\x01\x20\x01\xbe\x02\xff\x00\x02\xff\x00"))
	f.Fuzz(func(t *testing.T, input []byte) {
		d, plain := &FieldDecoder{Name: ":path"}, newPlain(":path")
		for len(input) > 0 {
			n := min(int(input[0]), len(input)-1)
			block := input[1 : 1+n]
			input = input[1+n:]
			if !agree(t, d, plain, block) {
				return
			}
		}
	})
}

// FieldDecoder agrees with hpack about blocks of hpack's encoder, and about damaged ones.
func TestFieldDecoderAgrees(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		var encoded bytes.Buffer
		e := hpack.NewEncoder(&encoded)
		e.SetMaxDynamicTableSizeLimit(maxTable)
		d, plain := &FieldDecoder{Name: ":path"}, newPlain(":path")
		for range 100 {
			encoded.Reset()
			if rnd.IntN(20) == 0 {
				e.SetMaxDynamicTableSize(rnd.Uint32N([]uint32{100, 1000, maxTable}[rnd.IntN(3)]))
			}
			for range rnd.IntN(8) {
				name := []string{":path", ":path", "grpc-timeout", "x-" + strconv.Itoa(rnd.IntN(10)), "te"}[rnd.IntN(5)]
				value := strings.Repeat(strconv.Itoa(rnd.IntN(5)), 1+rnd.IntN([]int{3, 3, 3, 700}[rnd.IntN(4)]))
				_ = e.WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: rnd.IntN(4) == 0})
			}
			block := bytes.Clone(encoded.Bytes())
			if rnd.IntN(100) == 0 && len(block) > 0 {
				block[rnd.IntN(len(block))] ^= byte(1 << rnd.IntN(8))
			}
			if !agree(t, d, plain, block) {
				break
			}
		}
	}
}

// plain decodes the last field with a name.
type plain struct {
	*hpack.Decoder
	value string
}

func newPlain(name string) *plain {
	p := &plain{}
	p.Decoder = hpack.NewDecoder(initialTable, func(f hpack.HeaderField) {
		if f.Name == name {
			p.value = f.Value
		}
	})
	p.SetAllowedMaxDynamicTableSize(maxTable)
	return p
}

// agree decodes a block with both. It returns false after an error.
func agree(t *testing.T, d *FieldDecoder, p *plain, block []byte) bool {
	t.Helper()
	p.value = ""
	_, err := p.Write(block)
	if err == nil {
		err = p.Close()
	}
	d.Write(block[:len(block)/2])
	d.Write(block[len(block)/2:])
	got, gotErr := d.End()
	if (gotErr == nil) != (err == nil) || err == nil && got != p.value[:min(len(p.value), maxValue)] {
		t.Fatalf("block %x: %q, %v, want %q, %v", block, got, gotErr, p.value, err)
	}
	return err == nil
}
