package testkit

import (
	"os"
)

// Main runs the tests of a package and then stops what they share. It is optional: without it the test
// database ends with the process, only less tidily.
//
//	func TestMain(m *testing.M) { testkit.Main(m) }
func Main(m interface{ Run() int }) {
	code := m.Run()
	stopCluster()
	os.Exit(code)
}
