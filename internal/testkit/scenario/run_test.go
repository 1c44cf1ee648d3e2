package scenario_test

import (
	"flag"
	"strings"
	"testing"

	"allmende/internal/testkit"
	"allmende/internal/testkit/scenario"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// TestScenarios runs every scenario on every topology. Scenarios of one topology
// share an installation: each makes its own people and rooms.
func TestScenarios(t *testing.T) {
	for _, topology := range scenario.Topologies {
		t.Run(topology.Name, func(t *testing.T) {
			home := topology.Start(t)
			t.Run("together", func(t *testing.T) {
				for _, s := range scenario.All {
					t.Run(s.Name, func(t *testing.T) { t.Parallel(); s.Run(t, home) })
				}
			})
			for _, s := range scenario.Alone {
				t.Run(s.Name, func(t *testing.T) { s.Run(t, home) })
			}
		})
	}
	if part := flag.Lookup("test.run").Value.String(); strings.Count(part, "/") > 1 {
		return // a single scenario cannot call everything
	}
	t.Log(scenario.Report())
	for _, problem := range scenario.Unserved() {
		t.Error(problem)
	}
}
