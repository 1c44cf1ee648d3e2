package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ticks is the kernel's unit of CPU time in /proc, per second; it is the same on every Linux.
const ticks = 100

// process is a line of /proc/PID/stat.
type process struct {
	pid, parent int
	cpu         float64 // seconds, with those of children that have ended
	postgres    bool
}

// tree lists the server's process and all below it.
func (h *home) tree() []process {
	if h.cmd == nil {
		return nil
	}
	all := map[int][]process{} // by parent
	var root process
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is well formed
	for _, path := range stats {
		p, ok := readProcess(path)
		if !ok {
			continue
		}
		all[p.parent] = append(all[p.parent], p)
		if p.pid == h.cmd.Process.Pid {
			root = p
		}
	}
	list := []process{root}
	for i := 0; i < len(list); i++ {
		list = append(list, all[list[i].pid]...)
	}
	return list
}

// readProcess reads a stat file; a process may be gone by now.
func readProcess(path string) (p process, ok bool) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return p, false
	}
	text := string(raw)
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	f := strings.Fields(text[end+1:])
	if open < 0 || len(f) < 15 {
		return p, false
	}
	number := func(s string) int {
		n, _ := strconv.Atoi(s) // the kernel writes numbers
		return n
	}
	p.pid, p.parent = number(strings.TrimSpace(text[:open])), number(f[1])
	p.postgres = text[open+1:end] == "postgres"
	for _, field := range f[11:15] { // utime, stime, cutime, cstime
		p.cpu += float64(number(field)) / ticks
	}
	return p, true
}

// cpu is what the server and its database have used so far, in seconds.
func (h *home) cpu() float64 {
	server, database := h.cpuApart()
	return server + database + h.cpuBefore
}

func (h *home) cpuApart() (server, database float64) {
	for _, p := range h.tree() {
		if p.postgres {
			database += p.cpu
		} else {
			server += p.cpu
		}
	}
	return server, database
}

// memory is what is in use, in MiB: the server's own resident pages, its peak, and the database's share (PSS).
type memory struct{ server, peak, database float64 }

func (h *home) memory() (m memory) {
	for _, p := range h.tree() {
		dir := "/proc/" + strconv.Itoa(p.pid)
		if p.postgres {
			m.database += field(dir+"/smaps_rollup", "Pss:")
			continue
		}
		m.server += field(dir+"/status", "VmRSS:")
		m.peak += field(dir+"/status", "VmHWM:")
	}
	return m
}

// field reads a number of KiB, as MiB.
func field(path, name string) float64 {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			n, _ := strconv.Atoi(strings.Fields(rest)[0]) // the kernel writes numbers
			return float64(n) / 1024
		}
	}
	return 0
}
