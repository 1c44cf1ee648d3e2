package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// user is a logged-in device with a connection of its own. It writes requests by hand, so that the driver takes little
// of the machine that the server shall have. Not for concurrent use.
type user struct {
	id, name, token string
	home            *home
	conn            net.Conn
	in              *bufio.Reader
	out             []byte
	body            bytes.Buffer
	txn             int
}

const requestTimeout = 2 * time.Minute

func (h *home) user() *user { return &user{home: h} }

// another is the same device on a further connection.
func (u *user) another(prefix string) *user {
	return &user{id: u.id, name: u.name + prefix, token: u.token, home: u.home}
}

func (u *user) connect(ctx context.Context) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", u.home.addr)
	if err != nil {
		return err
	}
	u.conn, u.in = conn, bufio.NewReaderSize(conn, 64<<10)
	return nil
}

func (u *user) close() {
	if u.conn != nil {
		_ = u.conn.Close() // nothing is lost with it
		u.conn = nil
	}
}

// do sends a request; the answer is valid until the next one.
func (u *user) do(ctx context.Context, method, path string, body []byte) (status int, answer []byte, err error) {
	if u.conn == nil {
		if err := u.connect(ctx); err != nil {
			return 0, nil, err
		}
	}
	b := append(append(append(append(u.out[:0], method...), ' '), path...), " HTTP/1.1\r\nHost: bench.example\r\n"...)
	if u.token != "" {
		b = append(append(append(b, "Authorization: Bearer "...), u.token...), "\r\n"...)
	}
	if body != nil {
		b = append(b, "Content-Type: application/json\r\nContent-Length: "...)
		b = append(strconv.AppendInt(b, int64(len(body)), 10), "\r\n"...)
	}
	b = append(append(b, "\r\n"...), body...)
	u.out = b
	if err := u.conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return 0, nil, err
	}
	if _, err := u.conn.Write(b); err != nil {
		return 0, nil, err
	}
	resp, err := http.ReadResponse(u.in, nil)
	if err != nil {
		return 0, nil, err
	}
	u.body.Reset()
	_, err = io.Copy(&u.body, resp.Body)
	return resp.StatusCode, u.body.Bytes(), err
}

// must sends a request that has to succeed.
func (u *user) must(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	status, answer, err := u.do(ctx, method, path, body)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s %s: %d %.300s", method, path, status, answer)
	}
	return answer, err
}

// text is a member of a JSON object.
func text(raw []byte, name string) string {
	var m map[string]json.RawMessage
	var s string
	if json.Unmarshal(raw, &m) == nil {
		_ = json.Unmarshal(m[name], &s) // empty is what the caller notices
	}
	return s
}

const password = "correct horse battery staple"

// register makes an account.
func (u *user) register(ctx context.Context, name string) error {
	u.name = name
	const path = "/_matrix/client/v3/register"
	_, challenge, err := u.do(ctx, "POST", path, []byte(`{"username":"`+name+`","password":"`+password+`"}`))
	if err != nil {
		return err
	}
	raw, err := u.must(ctx, "POST", path, []byte(`{"username":"`+name+`","password":"`+password+
		`","auth":{"type":"m.login.dummy","session":"`+text(challenge, "session")+`"}}`))
	if err != nil {
		return err
	}
	u.id, u.token = text(raw, "user_id"), text(raw, "access_token")
	return nil
}

func (u *user) login(ctx context.Context, name string) error {
	raw, err := u.must(ctx, "POST", "/_matrix/client/v3/login", []byte(
		`{"type":"m.login.password","identifier":{"type":"m.id.user","user":"`+name+`"},"password":"`+password+`"}`))
	if err == nil {
		u.name, u.id, u.token = name, text(raw, "user_id"), text(raw, "access_token")
	}
	return err
}

func (u *user) createRoom(ctx context.Context) (string, error) {
	raw, err := u.must(ctx, "POST", "/_matrix/client/v3/createRoom", []byte(`{"preset":"public_chat","name":"Garden"}`))
	return text(raw, "room_id"), err
}

func (u *user) join(ctx context.Context, room string) error {
	_, err := u.must(ctx, "POST", "/_matrix/client/v3/rooms/"+room+"/join", []byte(`{}`))
	return err
}

// say sends a text message of common length.
func (u *user) say(ctx context.Context, room, what string) error {
	u.txn++
	_, err := u.must(ctx, "PUT", "/_matrix/client/v3/rooms/"+room+"/send/m.room.message/"+u.name+strconv.Itoa(u.txn),
		[]byte(`{"msgtype":"m.text","body":"`+what+`, who brings the ladder on Saturday? We meet at nine behind the shed."}`))
	return err
}

// sync answers the body, valid until the next request, and the next token.
func (u *user) sync(ctx context.Context, since string, timeout int) (body []byte, next string, err error) {
	path := "/_matrix/client/v3/sync?timeout=" + strconv.Itoa(timeout)
	if since != "" {
		path += "&since=" + since
	}
	body, err = u.must(ctx, "GET", path, nil)
	if err != nil {
		return nil, "", err
	}
	const mark = `"next_batch":"`
	_, rest, _ := bytes.Cut(body, []byte(mark))
	token, _, _ := bytes.Cut(rest, []byte(`"`))
	return body, string(token), nil
}
