// Messages of the Cocos wire, encoded by hand from the field numbers, so that this program shares
// nothing with the TypeScript side: no .proto file, no generated code.
package main

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/protobuf/proto"
)

// frame is a message as bytes; the codec below passes it through.
type frame struct{ bytes []byte }

// codec replaces gRPC's own for protobuf: frames stay as they are, the health service's generated
// messages go the usual way. Content type and everything else stay those of any grpc-go program.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(v any) ([]byte, error) {
	switch m := v.(type) {
	case *frame:
		return m.bytes, nil
	case proto.Message:
		return proto.Marshal(m)
	}
	return nil, fmt.Errorf("cannot marshal %T", v)
}

func (codec) Unmarshal(data []byte, v any) error {
	switch m := v.(type) {
	case *frame:
		m.bytes = append([]byte(nil), data...)
		return nil
	case proto.Message:
		return proto.Unmarshal(data, m)
	}
	return fmt.Errorf("cannot unmarshal into %T", v)
}

func init() { encoding.RegisterCodec(codec{}) }

// message builds the bytes of a protobuf message.
type message []byte

func (m message) varint(n uint64) message {
	for ; n > 127; n >>= 7 {
		m = append(m, byte(n)|128)
	}
	return append(m, byte(n))
}

// bytes adds a length-delimited field; proto3 leaves empty ones out.
func (m message) bytes(number uint64, value []byte) message {
	if len(value) == 0 {
		return m
	}
	return append(m.varint(number<<3|2).varint(uint64(len(value))), value...)
}

func (m message) text(number uint64, value string) message { return m.bytes(number, []byte(value)) }

func (m message) number(number, value uint64) message {
	if value == 0 {
		return m
	}
	return m.varint(number << 3).varint(value)
}

// sub adds a message field, also an empty one: presence counts in a oneof.
func (m message) sub(number uint64, value message) message {
	return append(m.varint(number<<3|2).varint(uint64(len(value))), value...)
}

// fields are the parts of a message by number: bytes of length-delimited ones, values of varints.
type fields struct {
	bytes  map[uint64][][]byte
	number map[uint64]uint64
}

var errShort = errors.New("message is cut short")

func readVarint(b []byte) (uint64, []byte, error) {
	var n uint64
	for i := 0; i < len(b) && i < 10; i++ {
		n |= uint64(b[i]&127) << (7 * i)
		if b[i] < 128 {
			return n, b[i+1:], nil
		}
	}
	return 0, nil, errShort
}

func parse(b []byte) (fields, error) {
	f := fields{map[uint64][][]byte{}, map[uint64]uint64{}}
	for len(b) > 0 {
		tag, rest, err := readVarint(b)
		if err != nil {
			return f, err
		}
		value, rest, err := readVarint(rest)
		if err != nil {
			return f, err
		}
		switch tag & 7 {
		case 0:
			f.number[tag>>3] = value
		case 2:
			if uint64(len(rest)) < value {
				return f, errShort
			}
			f.bytes[tag>>3] = append(f.bytes[tag>>3], rest[:value])
			rest = rest[value:]
		default:
			return f, fmt.Errorf("wire type %d", tag&7)
		}
		b = rest
	}
	return f, nil
}

func (f fields) text(number uint64) string {
	if all := f.bytes[number]; len(all) > 0 {
		return string(all[len(all)-1])
	}
	return ""
}

func (f fields) has(number uint64) bool { return len(f.bytes[number]) > 0 }
