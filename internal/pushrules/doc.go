// Package pushrules decides who is notified of an event: the server's default rules, what a user has changed about
// them, and the evaluation of the result. It is pure code: no tables, no subjects, no input or output.
//
// A user's changes are a Custom value; everything a client sees is made from it and the defaults (Custom.Ruleset), so
// that a new default rule reaches everybody with the next release and nothing is stored for users who changed nothing.
//
// Evaluation is made for large rooms: an Event is parsed at most once and only if a rule asks for more than its type,
// and the outcome of default rules that do not depend on the user is computed once and shared. A Compiled ruleset is
// immutable and may be shared by goroutines; an Event belongs to one goroutine at a time.
//
// spec: c-s §Push Notifications
package pushrules
