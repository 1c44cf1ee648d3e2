package scenario_test

import (
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
}
