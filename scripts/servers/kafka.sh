#!/usr/bin/env bash
# Installs Apache Kafka 4.4.0 in the directory $1: DIR/libs, and in DIR/data the first state of a broker that is its own controller.
# By SCRAM it knows the user longline with the password secret.
set -euo pipefail
. "$(dirname "$0")/maven.sh"
needs_maven
cat >"$1/pom.xml" <<'POM'
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>test</groupId><artifactId>server</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.4.0</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>4.4.0</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
POM
mvn -q -B -ntp -f "$1/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$1/libs"
cat >"$1/format.properties" <<X
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:1
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:2,CONTROLLER://127.0.0.1:1
log.dirs=$1/data
X
scram() { echo "SCRAM-SHA-$1=[name=longline,password=secret]"; }
java -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp "$1/libs/*" kafka.tools.StorageTool format \
	--cluster-id AAAAAAAAAAAAAAAAAAAAAQ --config "$1/format.properties" --add-scram "$(scram 256)" --add-scram "$(scram 512)" >/dev/null
