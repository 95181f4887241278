// Command ferretdb serves the MongoDB wire protocol on one port, with PostgreSQL as the store.
//
// It keeps no state of its own, reports nothing to anybody, and ends on SIGTERM or SIGINT.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/FerretDB/FerretDB/ferretdb"
)

// stopTimeout bounds how long connected clients may delay the end; PostgreSQL keeps what was acknowledged.
const stopTimeout = 5 * time.Second

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "ferretdb:", err)
		os.Exit(1)
	}
}

// run serves until the process is told to stop.
func run() error {
	listen, postgres, err := settings()
	if err != nil {
		return err
	}

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	// A probe that connects and hangs up is a warning to it; only errors are worth a line here.
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))

	server, err := ferretdb.New(&ferretdb.Config{
		Listener:      ferretdb.ListenerConfig{TCP: listen},
		Logger:        logger,
		Handler:       "postgresql",
		PostgreSQLURL: postgres,
	})
	if err != nil {
		return err
	}

	fmt.Fprintln(os.Stderr, "ferretdb: listening on", listen)

	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()

	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}

	select {
	case err := <-done:
		return err
	case <-time.After(stopTimeout):
		return nil
	}
}

// settings reads the environment and refuses an address that others could reach, unless they have to log in.
func settings() (listen, postgres string, err error) {
	listen = os.Getenv("FERRETDB_LISTEN")
	postgres = os.Getenv("FERRETDB_POSTGRESQL_URL")

	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return "", "", fmt.Errorf("FERRETDB_LISTEN must be host:port: %w", err)
	}

	if postgres == "" {
		return "", "", fmt.Errorf("FERRETDB_POSTGRESQL_URL is missing")
	}

	uri, err := url.Parse(postgres)
	if err != nil {
		// The reason would repeat the value, which may hold a password.
		return "", "", fmt.Errorf("FERRETDB_POSTGRESQL_URL is no URL")
	}

	// With a login of its own it asks nobody for theirs, so that it must not leave the machine. Without one every client
	// gives a login of PostgreSQL (mechanism PLAIN).
	if ip := net.ParseIP(host); uri.User != nil && (ip == nil || !ip.IsLoopback()) {
		return "", "", fmt.Errorf("FERRETDB_LISTEN must be a loopback address, not %q, where FERRETDB_POSTGRESQL_URL has a login", host)
	}

	return listen, postgres, nil
}
