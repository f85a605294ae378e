package servers

import (
	"strconv"
	"testing"
)

// java returns the command line of a server of Spring Boot that stays small.
func java(heap string, options ...string) []string {
	return append([]string{"java", "-Xmx" + heap, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"}, append(options, "--server.address=127.0.0.1")...)
}

// Eureka starts a Eureka of one server, which keeps nothing when it is restarted. It removes instances, and shows changes, within about a second.
func Eureka(t testing.TB) *Server {
	t.Helper()
	return Start(t, Program{
		Name:  "eureka",
		Ports: []int{0},
		Command: func(installed string, port int) []string {
			return java("256m",
				"-jar", installed+"/target/server.jar",
				"--server.port="+strconv.Itoa(port),
				"--eureka.client.register-with-eureka=false",
				"--eureka.client.fetch-registry=false",
				"--eureka.server.wait-time-in-ms-when-sync-empty=0",
				"--eureka.server.enable-self-preservation=false",
				"--eureka.server.eviction-interval-timer-in-ms=1000",
				"--eureka.server.response-cache-update-interval-ms=500",
			)
		},
		Ready: Answers("/eureka/apps", "applications"),
	})
}

// Nacos starts a Nacos of one server, without users. It forgets ephemeral instances when it is restarted.
func Nacos(t testing.TB) *Server {
	t.Helper()
	const noSecurity = "org.springframework.boot.actuate.autoconfigure.security.servlet.ManagementWebSecurityAutoConfiguration," +
		"org.springframework.boot.autoconfigure.security.servlet.SecurityAutoConfiguration," +
		"org.springframework.boot.autoconfigure.security.servlet.UserDetailsServiceAutoConfiguration," +
		"org.springframework.boot.autoconfigure.security.servlet.SecurityFilterAutoConfiguration"
	return Start(t, Program{
		Name:  "nacos",
		Ports: []int{0, 1000, 1001, -1000}, // HTTP, gRPC for clients and servers, Raft
		Command: func(installed string, port int) []string {
			return java("400m",
				"-Dnacos.standalone=true",
				"-Dnacos.home=.",
				"-Dderby.system.durability=test",
				"--add-opens=java.base/java.lang=ALL-UNNAMED",
				"--add-opens=java.base/java.util=ALL-UNNAMED",
				"-jar", installed+"/target/server.jar",
				"--server.port="+strconv.Itoa(port),
				"--server.servlet.contextPath=/nacos",
				"--nacos.inetutils.ip-address=127.0.0.1",
				"--nacos.core.auth.enabled=false",
				"--nacos.core.auth.system.type=",
				"--nacos.core.auth.server.identity.key=k",
				"--nacos.core.auth.server.identity.value=v",
				"--db.pool.config.connectionTimeout=180000",
				"--spring.autoconfigure.exclude="+noSecurity,
				"--spring.main.allow-circular-references=true",
				"--spring.main.allow-bean-definition-overriding=true",
			)
		},
		Ready: Answers("/nacos/v1/ns/instance/list?serviceName=any", "hosts"),
	})
}
