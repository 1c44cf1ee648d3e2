package natsd_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"allmende/internal/natsd"
)

func TestServerCarriesMessages(t *testing.T) {
	var log bytes.Buffer
	s, err := natsd.Start(t.Context(), natsd.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.Conn()
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Conn()
	if err != nil {
		t.Fatal(err)
	}
	sub, err := a.SubscribeSync("subject.secret")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := b.Publish("subject.secret", []byte("payload")); err != nil {
		t.Fatal(err)
	}
	m, err := sub.NextMsg(5 * time.Second)
	if err != nil || string(m.Data) != "payload" {
		t.Fatalf("%v, %v", m, err)
	}
	s.Close()
	if a.IsConnected() && a.FlushTimeout(time.Second) == nil {
		t.Error("the connection outlived the server")
	}
	a.Close()
	b.Close()
	if strings.Contains(log.String(), "secret") {
		t.Errorf("a subject was logged: %s", log.String())
	}
	if _, err := s.Conn(); err == nil {
		t.Error("connected to a closed server")
	}
}
