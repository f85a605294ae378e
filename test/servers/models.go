package servers

import (
	"path/filepath"
	"strconv"
	"testing"
)

// Models starts a server of the Open Inference Protocol with a model, scripts/servers/models.py.
func Models(t testing.TB) *Server {
	t.Helper()
	return Start(t, Program{
		Name:  "models",
		Ports: []int{0},
		Command: func(installed string, port int) []string {
			page := filepath.Join(installed, "../../..", "scripts/servers/models.py")
			return []string{"env", "PYTHONPATH=" + installed, installed + "/venv/bin/python", page, strconv.Itoa(port)}
		},
		Ready: accepts,
	})
}
