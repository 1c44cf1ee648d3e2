package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// row is a line of the table.
type row struct{ scenario, figure, established, reach, ours, normal string }

// facts are the speeds of the reference loops, for comparing machines.
type facts struct {
	loops []loop
	speed float64 // of this machine in this run, 1 is the one the numbers to reach were taken on
}

// loop is a reference loop: how often per CPU second here and there.
type loop struct {
	name        string
	here, there float64
	text        string
}

// tell adds a figure that is not CPU time.
func (b *bench) tell(scenario, figure, established, reach, ours string) {
	b.rows = append(b.rows, row{scenario, figure, established, reach, ours, ""})
	b.echo()
}

// tellCPU adds a figure of CPU time, which can be compared with other machines.
func (b *bench) tellCPU(scenario, figure, established, reach string, ours float64, detail string) {
	normal := ""
	if b.facts.speed > 0 {
		normal = number(ours * b.facts.speed)
	}
	text := number(ours)
	if detail != "" {
		text += " (" + detail + ")"
	}
	b.rows = append(b.rows, row{scenario, figure, established, reach, text, normal})
	b.echo()
}

func (b *bench) echo() {
	r := b.rows[len(b.rows)-1]
	fmt.Fprintf(os.Stderr, "  %s, %s: %s %s (reach %s)\n", r.scenario, r.figure, r.ours, r.normal, r.reach)
}

// number writes with three digits that say something.
func number(f float64) string {
	switch {
	case math.IsNaN(f):
		return "–"
	case f >= 100:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2f", f)
}

func (b *bench) table() string {
	var t strings.Builder
	fmt.Fprintf(&t, "%s, commit %s, %s, %d CPUs, %s, Go %s; load average before the run %s.\n\n",
		time.Now().UTC().Format("2 January 2006"), command("git", "rev-parse", "--short", "HEAD"), cpuModel(), runtime.NumCPU(),
		command("postgres", "--version"), strings.TrimPrefix(runtime.Version(), "go"), loadAtStart)
	if b.opts.quick {
		t.WriteString("A quick run: too short for the numbers to mean much.\n\n")
	}
	t.WriteString("| reference loop | here | there |\n|---|---|---|\n")
	for _, l := range b.facts.loops {
		there := "–"
		if l.there > 0 {
			there = number(l.there)
		}
		fmt.Fprintf(&t, "| %s | %s | %s |\n", l.name, l.text, there)
	}
	t.WriteString("\n| scenario | figure | established | reach | ours | at the reference's speed |\n|---|---|---|---|---|---|\n")
	for _, r := range b.rows {
		fmt.Fprintf(&t, "| %s | %s | %s | %s | %s | %s |\n", r.scenario, r.figure, r.established, r.reach, r.ours, r.normal)
	}
	return t.String()
}

const (
	beginMark = "<!-- written by make bench -->\n"
	endMark   = "<!-- end of what make bench writes -->\n"
)

// writeTable replaces what stands between the marks.
func (b *bench) writeTable(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := bytes.Cut(raw, []byte(beginMark))
	_, after, ok2 := bytes.Cut(rest, []byte(endMark))
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for the table: it goes between %q and %q", path, beginMark, endMark)
	}
	text := string(before) + beginMark + "\n" + b.table() + "\n" + endMark + string(after)
	return os.WriteFile(path, []byte(text), 0o644)
}

var loadAtStart = loadAverage()

func loadAverage() string {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(raw), " ")
	return first
}

func cpuModel() string {
	raw, _ := os.ReadFile("/proc/cpuinfo") // unknown then
	_, rest, _ := strings.Cut(string(raw), "model name")
	_, rest, _ = strings.Cut(rest, ": ")
	name, _, _ := strings.Cut(rest, "\n")
	if name == "" {
		return "unknown CPU"
	}
	return name
}

// command is the first line a program prints.
func command(name string, args ...string) string {
	path := name
	if _, err := exec.LookPath(name); err != nil {
		path = "/usr/lib/postgresql/15/bin/" + name
	}
	out, err := exec.Command(path, args...).Output()
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return first
}
