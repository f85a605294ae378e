#!/usr/bin/env bash
# Installs a Nacos in the directory $1: DIR/target/server.jar. It is 2.2.4, whose parts naming and config are on Maven Central.
set -euo pipefail
. "$(dirname "$0")/maven.sh"
mkdir -p "$1/src/main/java/com/alibaba/nacos"
pom 2.7.18 '<dependencies><dependency>
<groupId>io.springboot.nacos</groupId><artifactId>nacos-naming</artifactId><version>2.2.4</version>
</dependency><dependency>
<groupId>io.springboot.nacos</groupId><artifactId>nacos-config</artifactId><version>2.2.4</version>
</dependency></dependencies>' >"$1/pom.xml"
cat >"$1/src/main/java/com/alibaba/nacos/Server.java" <<'X'
package com.alibaba.nacos;

import com.alibaba.nacos.core.code.ControllerMethodsCache;
import javax.annotation.PostConstruct;
import org.springframework.beans.factory.annotation.Autowired;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.web.servlet.ServletComponentScan;
import org.springframework.scheduling.annotation.EnableScheduling;

@SpringBootApplication
@ServletComponentScan
@EnableScheduling
public class Server {
	@Autowired ControllerMethodsCache methods;

	// The console does this, which is not on Maven Central. Without it the answer to every request is 501.
	@PostConstruct
	void addMethods() {
		for (String each : new String[] {"core.controller", "naming.controllers", "config.server.controller"}) {
			methods.initClassMethod("com.alibaba.nacos." + each);
		}
	}

	public static void main(String[] args) {
		System.setProperty("nacos.standalone", "true");
		SpringApplication.run(Server.class, args);
	}
}
X
build "$1"
