// Package testkit gives tests the real things: a PostgreSQL database of their own, a NATS bus of their
// own, folders that a database server can reach.
//
// One private PostgreSQL cluster (without fsync) serves all tests of a test binary; it starts with the first
// test that asks and ends with the process, whatever ends it. ALLMENDE_TEST_DATABASE_URL names a server
// to use instead; its account must be allowed to create databases. The package owns no tables of the product,
// serves no subjects and is imported by tests alone.
package testkit
