#!/usr/bin/env bash
# Installs a Netflix Eureka in the directory $1: DIR/target/server.jar. It is the server of Spring Cloud 2025.1.4.
set -euo pipefail
. "$(dirname "$0")/maven.sh"
mkdir -p "$1/src/main/java/test"
pom 4.0.7 '<dependencyManagement><dependencies><dependency>
<groupId>org.springframework.cloud</groupId><artifactId>spring-cloud-dependencies</artifactId><version>2025.1.4</version>
<type>pom</type><scope>import</scope></dependency></dependencies></dependencyManagement>
<dependencies><dependency>
<groupId>org.springframework.cloud</groupId><artifactId>spring-cloud-starter-netflix-eureka-server</artifactId>
</dependency></dependencies>' >"$1/pom.xml"
cat >"$1/src/main/java/test/Server.java" <<'X'
package test;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.cloud.netflix.eureka.server.EnableEurekaServer;

@SpringBootApplication
@EnableEurekaServer
public class Server {
	public static void main(String[] args) { SpringApplication.run(Server.class, args); }
}
X
build "$1"
