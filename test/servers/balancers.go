package servers

import (
	"testing"
)

// HAProxy starts an HAProxy. config returns its configuration, whose first listener is at port.
func HAProxy(t testing.TB, config func(port int) string) *Server {
	t.Helper()
	return Start(t, HAProxyProgram(config))
}

// HAProxyProgram is the program of HAProxy.
func HAProxyProgram(config func(port int) string) Program {
	return balancer("haproxy", config, func(_, file string) []string { return []string{"-db", "-f", file} })
}

// Nginx starts an nginx. config returns its configuration, whose first listener is at port. Its files are in its own directory: what it
// writes has to be off or have relative names there.
func Nginx(t testing.TB, config func(port int) string) *Server {
	t.Helper()
	return Start(t, NginxProgram(config))
}

// NginxProgram is the program of Nginx.
func NginxProgram(config func(port int) string) Program {
	p := balancer("nginx", config, func(installed, file string) []string {
		return []string{"-p", ".", "-c", file, "-e", "errors", "-g", "load_module " + installed + "/stream.so; daemon off; pid nginx.pid;"}
	})
	p.Many = true
	return p
}

// Envoy starts an Envoy. config returns its configuration in YAML, whose first listener is at port.
func Envoy(t testing.TB, config func(port int) string) *Server {
	t.Helper()
	return Start(t, EnvoyProgram(config))
}

// EnvoyProgram is the program of Envoy.
func EnvoyProgram(config func(port int) string) Program {
	return balancer("envoy", config, func(_, file string) []string {
		return []string{"-c", file, "--concurrency", "1", "--disable-hot-restart", "-l", "warning"}
	})
}

// balancer returns the program DIR/NAME, which reads its configuration from a file.
func balancer(name string, config func(port int) string, arguments func(installed, file string) []string) Program {
	return Program{
		Name:  name,
		Ports: []int{0},
		Command: func(installed string, port int) []string {
			const write, file = `printf %s "$1" >"$2" && shift 2 && exec "$0" "$@"`, "config.yaml"
			return append([]string{"sh", "-c", write, installed + "/" + name, config(port), file}, arguments(installed, file)...)
		},
		Ready: accepts,
	}
}
