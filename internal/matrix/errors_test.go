package matrix

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"
)

func TestErrorBody(t *testing.T) {
	for name, tc := range map[string]struct {
		err  *Error
		want string
	}{
		"plain":        {Forbidden("No"), `{"errcode":"M_FORBIDDEN","error":"No"}`},
		"empty text":   {NotFound(""), `{"errcode":"M_NOT_FOUND","error":""}`},
		"retry":        {LimitExceeded(1500 * time.Microsecond), `{"errcode":"M_LIMIT_EXCEEDED","error":"Too many requests","retry_after_ms":2}`},
		"soft logout":  {UnknownToken(true), `{"errcode":"M_UNKNOWN_TOKEN","error":"Unknown access token","soft_logout":true}`},
		"hard logout":  {UnknownToken(false), `{"errcode":"M_UNKNOWN_TOKEN","error":"Unknown access token","soft_logout":false}`},
		"extra, retry": {Unavailable(time.Second).With("a", 1), `{"a":1,"errcode":"M_UNKNOWN","error":"The server is temporarily unavailable","retry_after_ms":1000}`},
		"extra cannot replace the code": {
			BadJSON("x").With("errcode", "M_OTHER"), `{"errcode":"M_BAD_JSON","error":"x"}`},
		"the cause stays private": {Unknown("oops").Wrap(errors.New("secret")), `{"errcode":"M_UNKNOWN","error":"oops"}`},
		"without a code":          {(&Error{Status: 401}).With("session", "s"), `{"session":"s"}`},
	} {
		got, err := json.Marshal(tc.err)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if string(got) != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, tc.want)
		}
	}
}

func TestErrorIsComparesCodes(t *testing.T) {
	err := fmt.Errorf("join room: %w", Forbidden("not invited").With("k", "v"))
	if !errors.Is(err, Forbidden("")) {
		t.Error("a refined M_FORBIDDEN is not recognised")
	}
	if errors.Is(err, NotFound("")) {
		t.Error("M_FORBIDDEN taken for M_NOT_FOUND")
	}
	if errors.Is(err, io.EOF) {
		t.Error("M_FORBIDDEN taken for io.EOF")
	}
}

func TestErrorCopies(t *testing.T) {
	base := Forbidden("base").With("a", 1)
	_ = base.WithMessage("other")
	_ = base.With("b", 2)
	_ = base.Wrap(io.EOF)
	_ = base.WithStatus(418)
	got, _ := json.Marshal(base)
	if want := `{"a":1,"errcode":"M_FORBIDDEN","error":"base"}`; string(got) != want || base.Status != 403 || base.Unwrap() != nil {
		t.Errorf("the value was changed by refining it: %s, status %d, cause %v", got, base.Status, base.Unwrap())
	}
}

func TestAsError(t *testing.T) {
	if AsError(nil) != nil {
		t.Error("AsError(nil) is not nil")
	}
	e := AsError(io.ErrUnexpectedEOF)
	if e.Code != "M_UNKNOWN" || e.Status != 500 || !errors.Is(e, io.ErrUnexpectedEOF) {
		t.Errorf("an unforeseen error became %+v", e)
	}
	plain := NotFound("x")
	if AsError(plain) != plain {
		t.Error("a bare *Error was not returned as it is")
	}
	wrapped := AsError(fmt.Errorf("load room 7: %w", plain.With("k", 1)))
	if wrapped.Code != "M_NOT_FOUND" || wrapped.Msg != "x" || wrapped.Extra["k"] != 1 {
		t.Errorf("wrapping lost the value: %+v", wrapped)
	}
	if got, want := wrapped.Unwrap().Error(), "load room 7: M_NOT_FOUND: x"; got != want {
		t.Errorf("context for the log: got %q, want %q", got, want)
	}
}

func TestRetryAfterRoundsUp(t *testing.T) {
	for d, want := range map[time.Duration][2]int64{
		0:                        {0, 0},
		-time.Second:             {0, 0},
		1:                        {1, 1},
		time.Second:              {1000, 1},
		time.Second + 1:          {1001, 2},
		time.Duration(1<<63 - 1): {9223372036854, 9223372036},
	} {
		e := LimitExceeded(d)
		if got := [2]int64{e.RetryAfterMs(), e.RetryAfterSeconds()}; got != want {
			t.Errorf("%v: got %v, want %v", d, got, want)
		}
	}
}
