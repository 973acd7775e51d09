package receiver

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"spillway/ingest"
)

const (
	// poolSize is what a pool of connections to one server should have at most:
	// each is a process there.
	poolSize  = 64
	makeTable = `create table if not exists webhooks (
		id bigint generated always as identity primary key,
		received timestamptz not null, app text not null, signature bytea not null, body bytea not null)`
	insert = `insert into webhooks (received, app, signature, body) values ($1, $2, $3, $4)`
)

// table has a row for each webhook, each by one INSERT that is a transaction of its
// own, with a prepared statement. Bodies are bytes: jsonb would cost the server a
// parse.
type table struct {
	unbounded
	pool *pgxpool.Pool
}

// newTable makes the table if need be; url is that of the database.
func newTable(ctx context.Context, url string) (*table, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns, cfg.MinConns = poolSize, poolSize
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	if _, err := pool.Exec(ctx, makeTable); err != nil {
		pool.Close()
		return nil, fmt.Errorf("make table: %w", err)
	}
	return &table{pool: pool}, nil
}

// Append returns nil once the row is committed.
func (t *table) Append(w *ingest.Webhook) error {
	ctx, cancel := context.WithTimeout(context.Background(), addTimeout)
	defer cancel()
	if _, err := t.pool.Exec(ctx, insert, w.Received, w.App, w.Signature, w.Body); err != nil {
		return fmt.Errorf("insert webhook: %w", err)
	}
	return nil
}

func (t *table) Close() error {
	t.pool.Close()
	return nil
}

func readTable(ctx context.Context, url string, each func([]byte)) (err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	rows, err := conn.Query(ctx, "select body from webhooks order by id")
	if err != nil {
		return fmt.Errorf("read table: %w", err)
	}
	var body []byte
	_, err = pgx.ForEachRow(rows, []any{&body}, func() error {
		each(body)
		return nil
	})
	return err
}
