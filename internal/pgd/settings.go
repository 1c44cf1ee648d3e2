package pgd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// initdbFlags are those that pg_upgrade needs to find the same in both clusters. Locale C sorts by
// bytes on every machine, so that no change of the system's C library can break an index.
func initdbFlags() []string {
	return []string{"--encoding=UTF8", "--locale=C", "--data-checksums", "--auth=trust"}
}

// ensureCluster creates the cluster unless it exists. It is made aside and moved into place, so that a
// crash half way leaves nothing that looks like a database.
func (s *Server) ensureCluster(ctx context.Context) error {
	if _, err := os.Stat(s.lay.data); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	began := time.Now()
	fresh := s.lay.data + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return fmt.Errorf("clear unfinished database: %w", err)
	}
	if err := ownDir(fresh, s.acct); err != nil {
		return err
	}
	args := append([]string{"-D", fresh, "-U", roleName, "--no-instructions"}, initdbFlags()...)
	if !s.opts.Durable {
		args = append(args, "--no-sync")
	}
	if out, err := s.acct.command(ctx, fresh, s.bin.initdb(), args...).CombinedOutput(); err != nil {
		return fmt.Errorf("create database cluster: %w\n%s", err, lastLines(string(out), 5))
	}
	if err := os.Rename(fresh, s.lay.data); err != nil {
		return fmt.Errorf("move database into place: %w", err)
	}
	s.log.Info("private PostgreSQL created", "version", s.bin.major, "ms", time.Since(began).Milliseconds())
	return nil
}

// settings of the private cluster. Small, because the database of an association is small and shares
// its machine with everything else; silent, because a log is a copy of what it tells.
func (s *Server) settings() map[string]string {
	durable := "off"
	if s.opts.Durable {
		durable = "on"
	}
	m := map[string]string{
		// Where, and who: entering the 0700 folder is the authentication.
		"data_directory":          s.lay.data,
		"hba_file":                s.lay.hba(),
		"listen_addresses":        "",
		"port":                    strconv.Itoa(socketPort),
		"unix_socket_directories": s.socket,
		"unix_socket_permissions": "0700",

		// Durability.
		"fsync":              durable,
		"synchronous_commit": durable,
		"full_page_writes":   durable,

		// Memory and processes.
		"shared_buffers":                   "24MB",
		"max_connections":                  "60",
		"work_mem":                         "4MB",
		"maintenance_work_mem":             "64MB",
		"autovacuum_work_mem":              "32MB",
		"effective_cache_size":             "512MB",
		"huge_pages":                       "off",
		"jit":                              "off", // compiling costs more than our short queries
		"max_worker_processes":             "2",
		"max_parallel_workers":             "0",
		"max_parallel_workers_per_gather":  "0",
		"max_parallel_maintenance_workers": "0",
		"max_logical_replication_workers":  "0", // saves a process
		"random_page_cost":                 "1.1",

		// WAL: no replicas, so the least that recovers. Finished segments are deleted, not kept for
		// reuse: they hold what has since been deleted.
		"wal_level":          "minimal",
		"max_wal_senders":    "0",
		"min_wal_size":       "32MB",
		"max_wal_size":       "256MB",
		"wal_recycle":        "off",
		"checkpoint_timeout": "15min",

		// Deleted rows leave the disk soon.
		"autovacuum":                            "on",
		"autovacuum_max_workers":                "2",
		"autovacuum_vacuum_scale_factor":        "0.05",
		"autovacuum_vacuum_insert_scale_factor": "0.1",
		"autovacuum_analyze_scale_factor":       "0.05",

		// The log: starts, stops and crashes on standard error, which we read. Nothing else: no files, no
		// statements, no parameters, no failed rows (clients get their errors, the log does not).
		"logging_collector":                 "off",
		"log_destination":                   "stderr",
		"log_line_prefix":                   "",
		"log_timezone":                      "UTC",
		"log_error_verbosity":               "terse",
		"log_min_messages":                  "log",
		"log_min_error_statement":           "panic",
		"log_min_duration_statement":        "-1",
		"log_min_duration_sample":           "-1",
		"log_statement":                     "none",
		"log_duration":                      "off",
		"log_parameter_max_length":          "0",
		"log_parameter_max_length_on_error": "0",
		"log_connections":                   "off",
		"log_disconnections":                "off",
		"log_checkpoints":                   "off",
		"log_lock_waits":                    "off",
		"log_temp_files":                    "-1",
		"log_autovacuum_min_duration":       "-1",

		// A lost client must not hold locks for ever.
		"idle_in_transaction_session_timeout": "60s",
		"timezone":                            "UTC",
	}
	maps.Copy(m, s.opts.Settings)
	return m
}

// writeSettings writes both configuration files. They lie beside the cluster, not in it: when we are root
// we must not write into a folder that another account could fill with links.
func (s *Server) writeSettings() error {
	var b strings.Builder
	b.WriteString("# Written by Allmende at every start. Lasting changes: ALTER SYSTEM SET name = value;\n")
	m := s.settings()
	for _, name := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, quoteSetting(m[name]))
	}
	const hba = "# Written by Allmende at every start. Whoever may enter the socket's folder may connect.\n" +
		"local all all trust\n"
	return errors.Join(replaceFile(s.lay.conf(), b.String()), replaceFile(s.lay.hba(), hba))
}

func quoteSetting(v string) string {
	return strings.NewReplacer(`\`, `\\`, `'`, `''`, "\n", `\n`).Replace(v)
}

// replaceFile swaps the file in one step: a crash leaves the old one or the new one.
func replaceFile(path, text string) error {
	if old, err := os.ReadFile(path); err == nil && string(old) == text {
		return nil
	}
	next := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.WriteFile(next, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	// The umask may have taken bits away that the account needs; nothing in here is secret.
	if err := errors.Join(os.Chmod(next, 0o644), os.Rename(next, path)); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
