// Package archtest holds the house together: its tests read the source of every package and fail, with the reason, when
// an import points the wrong way, a package does not say what it owns, or a habit of the house is broken. It owns no
// table, serves no subject and is part of no binary. A rule that turns out wrong is changed here, together with
// docs/architecture.md, and never worked around.
package archtest
