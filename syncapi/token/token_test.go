package token

import (
	"errors"
	"math"
	"testing"

	"allmende/internal/matrix"
)

func TestSyncRoundTrip(t *testing.T) {
	for _, want := range []Sync{
		{},
		{Events: 1, Receipts: 2, AccountData: 3, Memory: Memory{Epoch: 1_790_000_000_000, Serial: 5}},
		{Events: math.MaxInt64, Receipts: math.MaxInt64, AccountData: math.MaxInt64, Memory: Memory{math.MaxInt64, math.MaxInt64}},
	} {
		got, err := ParseSync(want.String())
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v", want, got, err)
		}
	}
}

// TestSyncV1 pins the text of the first version: clients hold such tokens.
func TestSyncV1(t *testing.T) {
	const text = "s1_17_4_9_zz.3"
	want := Sync{Events: 17, Receipts: 4, AccountData: 9, Memory: Memory{Epoch: 35*36 + 35, Serial: 3}}
	if got, err := ParseSync(text); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	if want.String() != text {
		t.Errorf("written as %s", want)
	}
}

func TestOrd(t *testing.T) {
	for text, want := range map[string]Ord{"t0": 0, "t12": 12, "t-9": -9, "s1_17_4_9_zz.3": 17} {
		if got, err := ParseOrd(text); err != nil || got != want {
			t.Errorf("%s: got %d, %v", text, got, err)
		}
	}
	if Ord(-4).String() != "t-4" {
		t.Error(Ord(-4).String())
	}
}

func TestRefused(t *testing.T) {
	for _, text := range []string{
		"", "s", "t", "x1", "s1_", "s1_1_2_3", "s1_1_2_3_4", "s1_1_2_3_4.5_6", "s1_-1_2_3_4.5", "s2_1_2_3_4.5", "s1_+1_2_3_4.5",
		"s1_01_2_3_4.5", "s1_1_2_3_Z.5", "s1_9999999999999999999_2_3_4.5", "t+1", "t1 ", "t1_2", "t9999999999999999999",
	} {
		if _, err := ParseSync(text); !errors.Is(err, matrix.InvalidParam("")) {
			t.Errorf("sync %q: %v", text, err)
		}
		if _, err := ParseOrd(text); !errors.Is(err, matrix.InvalidParam("")) {
			t.Errorf("ord %q: %v", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"s1_17_4_9_zz.3", "t-9", "t12", "s1_0_0_0_0.0", "s1__", "t"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := ParseSync(s); err == nil && got.String() != s {
			t.Errorf("%q read as %q", s, got)
		}
		if got, err := ParseOrd(s); err == nil && s[0] == 't' && got.String() != s {
			t.Errorf("%q read as %q", s, got)
		}
	})
}
