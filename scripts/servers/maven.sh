# Sourced by the other scripts here.

needs_maven() {
	command -v mvn >/dev/null && command -v java >/dev/null || {
		echo "$0: this needs Maven and a JDK of 17 or later" >&2
		exit 1
	}
}

# build DIR builds DIR/pom.xml with Maven, into DIR/target/server.jar.
build() {
	needs_maven
	mvn -q -B -ntp -f "$1/pom.xml" package -DskipTests
	rm -rf "$1/src" "$1/target/classes"
}

# pom PARENT DEPENDENCIES prints the pom.xml of a server: PARENT is the version of Spring Boot, the rest is XML.
pom() {
	cat <<-X
		<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
		<parent><groupId>org.springframework.boot</groupId><artifactId>spring-boot-starter-parent</artifactId><version>$1</version><relativePath/></parent>
		<groupId>test</groupId><artifactId>server</artifactId><version>1</version>
		<properties><java.version>17</java.version></properties>
		$2
		<build><finalName>server</finalName><plugins><plugin>
		<groupId>org.springframework.boot</groupId><artifactId>spring-boot-maven-plugin</artifactId>
		</plugin></plugins></build></project>
	X
}
