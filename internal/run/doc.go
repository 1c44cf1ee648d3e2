// Package run puts the services together: it is the one place that knows all of them. It starts what a configuration asks
// for (the private PostgreSQL and the bus inside the process unless addresses are given), migrates the schemas, builds the
// chosen services, serves their routes, and stops everything in the reverse order. The binary and the end-to-end tests
// start the same Instance.
//
// It owns no table and serves no subject. The files it makes below data_dir are postgres/ (through pgd), acme/
// (certificates) and admin.sock (the admin's door, for the server's own account only).
//
// Invariants: nothing is answered before everything is ready; a stop answers what was begun, then closes the bus, then
// the pool, then the database; a part that ends by itself stops the whole process with its cause.
package run
