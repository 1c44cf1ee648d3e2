package obs

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// LatencyBuckets suit calls and requests, in seconds.
var LatencyBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// maxSeries bounds one metric: labels that would make more share one series labelled "other".
const maxSeries = 2000

// Registry holds metrics and writes them in the Prometheus text format.
type Registry struct {
	mu       sync.Mutex
	families map[string]*family
}

// Default is the registry of the process, used by the New… functions of this package.
var Default = &Registry{}

type family struct {
	name, help, kind string
	labels           []string
	buckets          []float64
	collect          func(emit func(v float64, labels ...string))

	mu     sync.RWMutex
	series map[string]*series
}

type series struct {
	labels string // ready to write, without braces
	bits   atomic.Uint64
	hist   *HistogramValue
}

func (r *Registry) add(f *family) *family {
	f.series = map[string]*series{}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.families == nil {
		r.families = map[string]*family{}
	}
	if r.families[f.name] != nil {
		panic("obs: metric " + f.name + " declared twice")
	}
	r.families[f.name] = f
	return f
}

// Counter only grows. Declare it once, as a package variable.
type Counter struct{ f *family }

// Gauge is a value that goes up and down.
type Gauge struct{ f *family }

// Histogram counts observations in buckets.
type Histogram struct{ f *family }

// NewCounter declares a counter in the default registry; names end in _total.
func NewCounter(name, help string, labels ...string) Counter {
	return Default.NewCounter(name, help, labels...)
}

// NewGauge declares a gauge in the default registry.
func NewGauge(name, help string, labels ...string) Gauge {
	return Default.NewGauge(name, help, labels...)
}

// NewHistogram declares a histogram in the default registry; buckets are upper bounds, ascending.
func NewHistogram(name, help string, buckets []float64, labels ...string) Histogram {
	return Default.NewHistogram(name, help, buckets, labels...)
}

// NewCounter declares a counter.
func (r *Registry) NewCounter(name, help string, labels ...string) Counter {
	return Counter{r.add(&family{name: name, help: help, kind: "counter", labels: labels})}
}

// NewGauge declares a gauge.
func (r *Registry) NewGauge(name, help string, labels ...string) Gauge {
	return Gauge{r.add(&family{name: name, help: help, kind: "gauge", labels: labels})}
}

// NewHistogram declares a histogram.
func (r *Registry) NewHistogram(name, help string, buckets []float64, labels ...string) Histogram {
	return Histogram{r.add(&family{name: name, help: help, kind: "histogram", labels: labels, buckets: buckets})}
}

// Collect declares a gauge whose values are asked for at each scrape; f calls emit once for each
// set of label values. For pools and queues that know their state.
func (r *Registry) Collect(name, help string, labels []string, f func(emit func(v float64, labels ...string))) {
	r.add(&family{name: name, help: help, kind: "gauge", labels: labels, collect: f})
}

// Value is one series of a counter or gauge.
type Value struct{ s *series }

// With picks the series; keep the result where it is hot.
func (c Counter) With(labels ...string) Value { return Value{c.f.get(labels)} }

// Add adds d, which must not be negative.
func (c Counter) Add(d float64, labels ...string) { c.With(labels...).Add(d) }

// Inc adds one.
func (c Counter) Inc(labels ...string) { c.With(labels...).Add(1) }

// With picks the series.
func (g Gauge) With(labels ...string) Value { return Value{g.f.get(labels)} }

// Set sets the value.
func (g Gauge) Set(v float64, labels ...string) { g.With(labels...).Set(v) }

// Add adds d.
func (g Gauge) Add(d float64, labels ...string) { g.With(labels...).Add(d) }

// Add adds d.
func (v Value) Add(d float64) { addFloat(&v.s.bits, d) }

// Set sets the value.
func (v Value) Set(x float64) { v.s.bits.Store(math.Float64bits(x)) }

// Value reads the current value.
func (v Value) Value() float64 { return math.Float64frombits(v.s.bits.Load()) }

// HistogramValue is one series of a histogram.
type HistogramValue struct {
	bounds []float64
	counts []atomic.Uint64 // one more than bounds
	sum    atomic.Uint64
}

// With picks the series; keep the result where it is hot.
func (h Histogram) With(labels ...string) *HistogramValue { return h.f.get(labels).hist }

// Observe counts v.
func (h *HistogramValue) Observe(v float64) {
	i, _ := slices.BinarySearch(h.bounds, v)
	h.counts[i].Add(1)
	addFloat(&h.sum, v)
}

// Count is the number of observations so far.
func (h *HistogramValue) Count() (n uint64) {
	for i := range h.counts {
		n += h.counts[i].Load()
	}
	return n
}

func addFloat(bits *atomic.Uint64, d float64) {
	for {
		old := bits.Load()
		if bits.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+d)) {
			return
		}
	}
}

func (f *family) get(labels []string) *series {
	if len(labels) != len(f.labels) {
		panic(fmt.Sprintf("obs: metric %s has %d labels, got %d", f.name, len(f.labels), len(labels)))
	}
	key := strings.Join(labels, "\xff")
	f.mu.RLock()
	s := f.series[key]
	f.mu.RUnlock()
	if s != nil {
		return s
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.series[key]; s != nil {
		return s
	}
	if len(f.series) >= maxSeries {
		labels = slices.Repeat([]string{"other"}, len(labels))
		key = strings.Join(labels, "\xff")
		if s := f.series[key]; s != nil {
			return s
		}
	}
	s = &series{labels: formatLabels(f.labels, labels)}
	if f.buckets != nil {
		s.hist = &HistogramValue{bounds: f.buckets, counts: make([]atomic.Uint64, len(f.buckets)+1)}
	}
	f.series[key] = s
	return s
}

var escapeLabel = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func formatLabels(names, values []string) string {
	var b strings.Builder
	for i, n := range names {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(n + `="` + escapeLabel.Replace(strings.ToValidUTF8(values[i], "�")) + `"`)
	}
	return b.String()
}

// WriteTo writes all metrics in the Prometheus text format, sorted.
func (r *Registry) WriteTo(w io.Writer) (int64, error) {
	cw := &countingWriter{w: w}
	b := bufio.NewWriter(cw)
	r.mu.Lock()
	families := make([]*family, 0, len(r.families))
	for _, f := range r.families {
		families = append(families, f)
	}
	r.mu.Unlock()
	slices.SortFunc(families, func(a, b *family) int { return strings.Compare(a.name, b.name) })
	for _, f := range families {
		f.write(b)
	}
	err := b.Flush()
	return cw.n, err
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func (f *family) write(b *bufio.Writer) {
	fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s %s\n", f.name, strings.ReplaceAll(f.help, "\n", " "), f.name, f.kind)
	if f.collect != nil {
		f.collect(func(v float64, labels ...string) {
			if len(labels) == len(f.labels) {
				writeSample(b, f.name, formatLabels(f.labels, labels), formatFloat(v))
			}
		})
		return
	}
	f.mu.RLock()
	all := make([]*series, 0, len(f.series))
	for _, s := range f.series {
		all = append(all, s)
	}
	f.mu.RUnlock()
	slices.SortFunc(all, func(a, b *series) int { return strings.Compare(a.labels, b.labels) })
	for _, s := range all {
		if s.hist != nil {
			s.hist.write(b, f.name, s.labels)
			continue
		}
		writeSample(b, f.name, s.labels, formatFloat(Value{s}.Value()))
	}
}

func (h *HistogramValue) write(b *bufio.Writer, name, labels string) {
	comma := ""
	if labels != "" {
		comma = ","
	}
	var n uint64
	for i := range h.counts {
		n += h.counts[i].Load()
		le := "+Inf"
		if i < len(h.bounds) {
			le = formatFloat(h.bounds[i])
		}
		writeSample(b, name+"_bucket", labels+comma+`le="`+le+`"`, strconv.FormatUint(n, 10))
	}
	writeSample(b, name+"_sum", labels, formatFloat(math.Float64frombits(h.sum.Load())))
	writeSample(b, name+"_count", labels, strconv.FormatUint(n, 10))
}

func writeSample(b *bufio.Writer, name, labels, value string) {
	b.WriteString(name)
	if labels != "" {
		b.WriteString("{" + labels + "}")
	}
	b.WriteString(" " + value + "\n")
}

func formatFloat(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// ServeHTTP answers a scrape.
func (r *Registry) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = r.WriteTo(w) // a scraper that is gone needs no answer
}
