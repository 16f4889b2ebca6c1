package h2

import (
	"bytes"
	"errors"
	"strings"

	"golang.org/x/net/http2/hpack"
)

const (
	// maxBlock is the longest header block that a FieldDecoder decodes, and maxTable its
	// largest HPACK table, in bytes; initialTable is the size at the beginning (RFC 9113
	// §6.5.2).
	maxBlock     = 64 << 10
	maxTable     = 64 << 10
	initialTable = 4 << 10

	// maxValue is how many bytes of a value are kept.
	maxValue = 512

	// maxResults is how many results are kept, and maxResultBlock the longest of their blocks.
	maxResults     = 3
	maxResultBlock = 128

	// maxKept is the largest buffer that is kept between blocks.
	maxKept = 512
)

var errLongBlock = errors.New("h2: a header block is longer than 64 KiB")

// FieldDecoder decodes one field of the header blocks of one direction of a connection.
// It must get all blocks, those of PUSH_PROMISE frames as well. The zero value, with
// Name, is at the beginning of a connection.
//
// In the steady state, gRPC peers send the same few blocks again and again, which only
// have indexes of the HPACK table (RFC 7541 §6.1) and so don't change it. FieldDecoder
// decodes such a block once, as long as the table stays the same.
type FieldDecoder struct {
	Name string // of the field

	block   []byte
	value   string // of the field, in the current block
	decoder *hpack.Decoder
	results []result // with the current table
	oldest  int      // the result to replace next
	err     error
}

// result is the value of the field in a block that only has indexes.
type result struct {
	block []byte
	value string
}

// Write adds p to the current block.
func (d *FieldDecoder) Write(p []byte) {
	switch {
	case d.err != nil:
	case len(d.block)+len(p) > maxBlock:
		d.fail(errLongBlock)
	default:
		d.block = append(d.block, p...)
	}
}

// End decodes the current block, and returns the value of the last field with the name, up
// to 512 bytes; "" if there is none. After an error, all further blocks return it.
func (d *FieldDecoder) End() (value string, err error) {
	if d.err != nil {
		return "", d.err
	}
	for i := range d.results {
		if r := &d.results[i]; bytes.Equal(r.block, d.block) {
			d.block = d.block[:0]
			return r.value, nil
		}
	}
	if err := d.decode(d.block); err != nil {
		d.fail(err)
		return "", err
	}
	d.remember()
	if d.block = d.block[:0]; cap(d.block) > maxKept {
		d.block = nil
		_ = d.decode([]byte{0x82}) // :method GET, because the decoder keeps a reference to the last block
	}
	value, d.value = d.value, ""
	return value, nil
}

func (d *FieldDecoder) decode(block []byte) error {
	if d.decoder == nil {
		d.decoder = hpack.NewDecoder(initialTable, d.field)
		d.decoder.SetAllowedMaxDynamicTableSize(maxTable)
	}
	if _, err := d.decoder.Write(block); err != nil {
		return err
	}
	return d.decoder.Close()
}

func (d *FieldDecoder) field(f hpack.HeaderField) {
	if f.Name != d.Name {
		return
	}
	if d.value = f.Value; len(f.Value) > maxValue {
		d.value = strings.Clone(f.Value[:maxValue])
	}
}

// remember keeps the result of the current block if that only has indexes. Another block
// may have changed the table.
func (d *FieldDecoder) remember() {
	switch {
	case !onlyIndexed(d.block):
		clear(d.results)
		d.results, d.oldest = d.results[:0], 0
	case len(d.block) > maxResultBlock:
	case len(d.results) < maxResults:
		d.results = append(d.results, result{bytes.Clone(d.block), d.value})
	default:
		d.results[d.oldest] = result{bytes.Clone(d.block), d.value}
		d.oldest = (d.oldest + 1) % maxResults
	}
}

// fail ends the decoding, and lets go of the memory.
func (d *FieldDecoder) fail(err error) { *d = FieldDecoder{Name: d.Name, err: err} }

// onlyIndexed reports whether a valid block only has indexed fields (RFC 7541 §6.1).
func onlyIndexed(block []byte) bool {
	for i := 0; i < len(block); {
		if block[i]&0x80 == 0 {
			return false
		}
		more := block[i] == 0xff // the index has more bytes (§5.1)
		for i++; more && i < len(block); i++ {
			more = block[i]&0x80 != 0
		}
	}
	return true
}
