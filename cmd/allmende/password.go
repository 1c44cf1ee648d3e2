package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// readPassword reads one line from the file, or asks for it. It is never taken from the command line, where every account
// of the machine could read it.
func readPassword(ctx context.Context, e *env, file string) (string, error) {
	switch file {
	case "":
		fmt.Fprint(e.stderr, "Password: ")
		return promptLine(ctx, e)
	case "-":
		return readLine(e.stdin)
	}
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	defer f.Close()
	return readLine(f)
}

// promptLine reads a line that is not shown. Ctrl-C gives the terminal back as it was.
func promptLine(ctx context.Context, e *env) (string, error) {
	defer hideInput(e)()
	type answer struct {
		line string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		line, err := readLine(e.stdin)
		answers <- answer{line, err}
	}()
	select {
	case a := <-answers:
		return a.line, a.err
	case <-ctx.Done():
		return "", errors.New("read password: interrupted")
	}
}

func readLine(in io.Reader) (string, error) {
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read password: %w", err)
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", errors.New("read password: there is none")
	}
	return line, nil
}
