package bfd

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
	"time"
)

// wire is a packet as BIRD 2.0.12 sent it: Up, C bit clear, 300 ms x 3.
const wire = "20c0031811223344aabbccdd000493e0000493e000000000"

func TestParseAndAppend(t *testing.T) {
	b, err := hex.DecodeString(wire)
	if err != nil {
		t.Fatal(err)
	}
	want := Packet{
		State: Up, DetectMult: 3, MyDiscriminator: 0x11223344, YourDiscriminator: 0xaabbccdd,
		DesiredMinTx: 300 * time.Millisecond, RequiredMinRx: 300 * time.Millisecond,
	}
	got, err := Parse(b)
	if err != nil || got != want {
		t.Fatalf("Parse: %+v, %v; want %+v", got, err, want)
	}
	if again := want.Append(nil); !bytes.Equal(again, b) {
		t.Errorf("Append: %x, want %x", again, b)
	}
}

func TestFlags(t *testing.T) {
	for bit, set := range map[byte]func(*Packet){
		0x20: func(p *Packet) { p.Poll = true },
		0x10: func(p *Packet) { p.Final = true },
		0x08: func(p *Packet) { p.ControlPlaneIndependent = true },
		0x02: func(p *Packet) { p.Demand = true },
	} {
		p := Packet{State: Init, DetectMult: 1, MyDiscriminator: 1, YourDiscriminator: 2}
		set(&p)
		b := p.Append(nil)
		if b[1] != byte(Init)<<6|bit {
			t.Errorf("flags are %#x, want bit %#x", b[1], bit)
		}
		if got, err := Parse(b); err != nil || got != p {
			t.Errorf("Parse: %+v, %v; want %+v", got, err, p)
		}
	}
}

func TestIntervalsBeyondTheFieldAreCut(t *testing.T) {
	p := Packet{State: Down, DetectMult: 1, MyDiscriminator: 1, DesiredMinTx: 2 * time.Hour}
	got, err := Parse(p.Append(nil))
	if want := (1<<32 - 1) * time.Microsecond; err != nil || got.DesiredMinTx != want {
		t.Errorf("%v, %v; want %v", got.DesiredMinTx, err, want)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(b []byte) []byte
		want Reason
	}{
		{"empty", func(b []byte) []byte { return nil }, Truncated},
		{"one byte short", func(b []byte) []byte { return b[:23] }, Truncated},
		{"version 0", func(b []byte) []byte { b[0] = 0; return b }, BadVersion},
		{"version 2", func(b []byte) []byte { b[0] = 2 << 5; return b }, BadVersion},
		{"length below the minimum", func(b []byte) []byte { b[3] = 23; return b }, BadLength},
		{"authenticated and too short for it", func(b []byte) []byte { b[1] |= 4; b[3] = 25; return append(b, 0) }, BadLength},
		{"length beyond the payload", func(b []byte) []byte { b[3] = 25; return b }, Truncated},
		{"zero multiplier", func(b []byte) []byte { b[2] = 0; return b }, ZeroDetectMult},
		{"multipoint", func(b []byte) []byte { b[1] |= 1; return b }, Multipoint},
		{"zero my discriminator", func(b []byte) []byte { clear(b[4:8]); return b }, ZeroMyDiscriminator},
		{"zero your discriminator in Up", func(b []byte) []byte { clear(b[8:12]); return b }, ZeroYourDiscriminator},
		{"zero your discriminator in Init", func(b []byte) []byte { clear(b[8:12]); b[1] = 2 << 6; return b }, ZeroYourDiscriminator},
		{"zero your discriminator in Down", func(b []byte) []byte { clear(b[8:12]); b[1] = 1 << 6; return b }, ""},
		{"zero your discriminator in AdminDown", func(b []byte) []byte { clear(b[8:12]); b[1] = 0; return b }, ""},
		{"authenticated", func(b []byte) []byte { b[1] |= 4; b[3] = 26; return append(b, 1, 2) }, Authenticated},
		{"trailing bytes", func(b []byte) []byte { return append(b, 1, 2, 3) }, ""},
		{"length covers trailing bytes", func(b []byte) []byte { b[3] = 27; return append(b, 1, 2, 3) }, ""},
	} {
		b, _ := hex.DecodeString(wire)
		_, err := Parse(c.edit(b))
		var got Reason
		if errors.As(err, &got); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	b, _ := hex.DecodeString(wire)
	f.Add(b)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			var r Reason
			if !errors.As(err, &r) {
				t.Fatalf("error %v is not a reason", err)
			}
			return
		}
		if p.MyDiscriminator == 0 || p.DetectMult == 0 {
			t.Fatalf("accepted %+v", p)
		}
		again, err := Parse(p.Append(nil))
		if err != nil || again != p {
			t.Fatalf("%+v becomes %+v, %v", p, again, err)
		}
	})
}
