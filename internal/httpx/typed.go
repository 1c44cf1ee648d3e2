package httpx

import (
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"allmende/internal/auth"
	"allmende/internal/matrix"
)

// Handle makes a route's handler of a function. In is a struct whose fields say where they come
// from:
//
//	RoomID matrix.RoomID   `path:"roomId"`
//	Limit  *int            `query:"limit"`          // nil: not sent
//	Via    []string        `query:"via"`            // may be sent many times
//	Dir    string          `query:"dir,required"`   // M_MISSING_PARAM when absent
//	Agent  string          `header:"User-Agent"`
//	Body   createRoomBody  `body:""`                // JSON object; M_NOT_JSON when there is none
//	Body   json.RawMessage `body:"optional"`        // {} when there is none
//	Body   any             `body:"any"`             // any JSON value, not only objects
//
// Fields of path, query and header are strings, integers, booleans, types made of them, types
// with UnmarshalText, and pointers and (query) slices of all these. What cannot be decoded is
// M_INVALID_PARAM; in the body M_NOT_JSON or M_BAD_JSON. Unknown fields are ignored.
//
// Out is encoded as JSON with status 200. If it has Status() int or Header() http.Header, they
// are used; json.RawMessage and Raw are sent as they are.
func Handle[In, Out any](h func(ctx context.Context, s auth.Session, in In) (Out, error)) Handler {
	return typedHandler[In, Out](h)
}

// Raw is an answer that is already encoded.
type Raw struct {
	Code        int    // 0 means 200
	ContentType string // "" means application/json
	Head        http.Header
	Body        []byte
}

// Status implements the answer's own status.
func (r Raw) Status() int { return r.Code }

// Header implements the answer's own headers.
func (r Raw) Header() http.Header { return r.Head }

type typedHandler[In, Out any] func(context.Context, auth.Session, In) (Out, error)

func (h typedHandler[In, Out]) bind(names []string) (serveFunc, error) {
	d, err := newDecoder(reflect.TypeFor[In](), names)
	if err != nil {
		return nil, err
	}
	return func(x *exchange) error {
		var in In
		if err := d.decode(x, reflect.ValueOf(&in).Elem()); err != nil {
			return err
		}
		out, err := h(x.r.Context(), x.session, in)
		if err != nil {
			return err
		}
		return answer(x.w, out)
	}, nil
}

func answer(w *writer, out any) error {
	status := http.StatusOK
	if s, ok := out.(interface{ Status() int }); ok && s.Status() != 0 {
		status = s.Status()
	}
	if h, ok := out.(interface{ Header() http.Header }); ok {
		for k, v := range h.Header() {
			w.Header()[http.CanonicalHeaderKey(k)] = v
		}
	}
	switch o := out.(type) {
	case Raw:
		contentType := typeJSON
		if o.ContentType != "" {
			contentType = []string{o.ContentType}
		}
		send(w, status, contentType, o.Body)
		return nil
	case json.RawMessage:
		send(w, status, typeJSON, o)
		return nil
	}
	return WriteJSON(w, status, out)
}

// decoder fills an In; what can be known from the type is worked out once.
type decoder struct {
	path   []pathField
	query  []field
	header []field
	body   *bodyField
}

type pathField struct {
	field
	value int // which of the path's values
}

type field struct {
	name     string
	required bool
	index    []int
	set      setter
	many     bool
}

// setter stores the text in a field; an error means that it does not fit.
type setter func(v reflect.Value, text string) error

func newDecoder(t reflect.Type, names []string) (*decoder, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("%s is not a struct", t)
	}
	d := &decoder{}
	for _, f := range reflect.VisibleFields(t) {
		if err := d.add(f, names); err != nil {
			return nil, fmt.Errorf("field %s of %s: %w", f.Name, t, err)
		}
	}
	return d, nil
}

func (d *decoder) add(f reflect.StructField, names []string) error {
	if opts, ok := f.Tag.Lookup("body"); ok {
		if d.body != nil {
			return errors.New("a second body")
		}
		var err error
		d.body, err = newBodyField(f, opts)
		return err
	}
	for _, source := range []string{"path", "query", "header"} {
		tag, ok := f.Tag.Lookup(source)
		if !ok {
			continue
		}
		fd := field{index: f.Index}
		fd.name, fd.required = strings.CutSuffix(tag, ",required")
		var err error
		fd.set, fd.many, err = setterFor(f.Type, source == "query")
		if err != nil || fd.name == "" || !f.IsExported() {
			return errors.Join(err, fmt.Errorf("%s cannot be decoded into it", source))
		}
		switch source {
		case "path":
			i := slices.Index(names, fd.name)
			if i < 0 {
				return fmt.Errorf("the path has no {%s}", fd.name)
			}
			d.path = append(d.path, pathField{fd, i})
		case "query":
			d.query = append(d.query, fd)
		case "header":
			fd.name = http.CanonicalHeaderKey(fd.name)
			d.header = append(d.header, fd)
		}
	}
	return nil
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

func setterFor(t reflect.Type, slices bool) (set setter, many bool, err error) {
	if reflect.PointerTo(t).Implements(textUnmarshaler) {
		return func(v reflect.Value, s string) error {
			return v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s))
		}, false, nil
	}
	switch t.Kind() {
	case reflect.String:
		return func(v reflect.Value, s string) error { v.SetString(s); return nil }, false, nil
	case reflect.Bool:
		return setBool, false, nil
	case reflect.Int, reflect.Int64, reflect.Int32, reflect.Int16, reflect.Int8:
		return func(v reflect.Value, s string) error {
			n, err := strconv.ParseInt(s, 10, t.Bits())
			v.SetInt(n)
			return err
		}, false, nil
	case reflect.Uint, reflect.Uint64, reflect.Uint32, reflect.Uint16, reflect.Uint8:
		return func(v reflect.Value, s string) error {
			n, err := strconv.ParseUint(s, 10, t.Bits())
			v.SetUint(n)
			return err
		}, false, nil
	case reflect.Pointer:
		inner, _, err := setterFor(t.Elem(), false)
		return func(v reflect.Value, s string) error {
			p := reflect.New(t.Elem())
			v.Set(p)
			return inner(p.Elem(), s)
		}, false, err
	case reflect.Slice:
		if !slices {
			break
		}
		inner, _, err := setterFor(t.Elem(), false)
		return func(v reflect.Value, s string) error {
			e := reflect.New(t.Elem()).Elem()
			err := inner(e, s)
			v.Set(reflect.Append(v, e))
			return err
		}, true, err
	}
	return nil, false, fmt.Errorf("%s is not supported", t)
}

func setBool(v reflect.Value, s string) error {
	switch s {
	case "true":
		v.SetBool(true)
	case "false":
		v.SetBool(false)
	default:
		return errors.New("neither true nor false")
	}
	return nil
}

func (d *decoder) decode(x *exchange, in reflect.Value) error {
	for i := range d.path {
		f := &d.path[i]
		if err := f.set(in.FieldByIndex(f.index), x.values[f.value]); err != nil {
			return invalid(f.name, err)
		}
	}
	for i := range d.header {
		if err := d.header[i].setAll(in, x.r.Header[d.header[i].name]); err != nil {
			return err
		}
	}
	if len(d.query) > 0 {
		if err := d.decodeQuery(in, x.r.URL.RawQuery); err != nil {
			return err
		}
	}
	if d.body != nil {
		return d.body.decode(x, in)
	}
	return nil
}

func (d *decoder) decodeQuery(in reflect.Value, raw string) error {
	var values url.Values
	if raw != "" {
		// Parts that are not well formed are left out by ParseQuery; the rest counts.
		values, _ = url.ParseQuery(raw)
	}
	for i := range d.query {
		if err := d.query[i].setAll(in, values[d.query[i].name]); err != nil {
			return err
		}
	}
	return nil
}

// setAll stores the values sent under the field's name: all in a slice, else the first.
func (f *field) setAll(in reflect.Value, values []string) error {
	if len(values) == 0 {
		if f.required {
			return matrix.MissingParam("Missing parameter " + f.name)
		}
		return nil
	}
	if !f.many {
		values = values[:1]
	}
	for _, v := range values {
		if !validText(v) {
			return invalid(f.name, errors.New("not valid UTF-8 text"))
		}
		if err := f.set(in.FieldByIndex(f.index), v); err != nil {
			return invalid(f.name, err)
		}
	}
	return nil
}

func invalid(name string, cause error) error {
	var known *matrix.Error
	if errors.As(cause, &known) {
		return known
	}
	return matrix.InvalidParam("Parameter " + name + " is not valid").Wrap(cause)
}
