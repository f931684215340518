# shellcheck shell=bash
# Sourced, not run: where the Kafka jars are kept, and how they get there.

readonly kafka_version=3.9.1
readonly kafka_home=${WEIR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weir}/kafka-$kafka_version

# Java 11 or later on PATH; says what is missing otherwise.
require_java() {
  local version
  version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p') || version=
  if ((${version:-0} < 11)); then
    echo "kafka: needs java 11 or later (found: ${version:-none}); run scripts/setup --kafka" >&2
    return 1
  fi
}

# Whether every jar that was fetched is still there and unchanged (about 0.1 s).
kafka_jars_complete() {
  [[ -s $kafka_home/sha256sums ]] &&
    (cd "$kafka_home" && sha256sum --check --status sha256sums 2>/dev/null)
}

# Makes sure that the jars are in the cache. Callers at the same time wait for the first.
fetch_kafka_jars() {
  if kafka_jars_complete; then return; fi
  mkdir -p "$(dirname "$kafka_home")"
  (
    flock 9
    if kafka_jars_complete; then exit; fi
    require_java
    if ! command -v mvn >/dev/null; then
      echo "kafka: needs mvn to fetch the jars; run scripts/setup --kafka" >&2
      exit 1
    fi
    echo "kafka: fetching the jars of Apache Kafka $kafka_version" >&2
    fresh=$(mktemp -d "$kafka_home.XXXXXX")
    trap 'rm -rf "$fresh"' EXIT
    write_kafka_pom "$fresh/pom.xml"
    copy_kafka_jars "$fresh" || { sleep 5 && copy_kafka_jars "$fresh"; }
    java -cp "$fresh/libs/*" kafka.tools.StorageTool random-uuid >/dev/null 2>&1 || {
      echo "kafka: the fetched jars do not run" >&2
      exit 1
    }
    rm "$fresh/mvn.log"
    (cd "$fresh" && sha256sum libs/*.jar >sha256sums)
    rm -rf "$kafka_home"
    mv "$fresh" "$kafka_home"
  ) 9>"$kafka_home.lock"
}

copy_kafka_jars() {
  # Java takes the home folder from the user database; $HOME is what was asked for.
  MAVEN_OPTS="-Duser.home=$HOME ${MAVEN_OPTS:-}" mvn --batch-mode --quiet \
    --file "$1/pom.xml" \
    org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$1/libs" </dev/null >"$1/mvn.log" 2>&1 || {
    cat "$1/mvn.log" >&2
    return 1
  }
}

# The broker, the topic tool (without Kafka Connect, which it does not need) and a logging binding,
# which the broker leaves to whoever packages it.
write_kafka_pom() {
  cat >"$1" <<POM
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>weir</groupId>
  <artifactId>kafka-for-tests</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>$kafka_version</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka-tools</artifactId>
      <version>$kafka_version</version>
      <exclusions>
        <exclusion><groupId>org.apache.kafka</groupId><artifactId>connect-api</artifactId></exclusion>
        <exclusion><groupId>org.apache.kafka</groupId><artifactId>connect-json</artifactId></exclusion>
        <exclusion><groupId>org.apache.kafka</groupId><artifactId>connect-runtime</artifactId></exclusion>
      </exclusions>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-reload4j</artifactId>
      <version>1.7.36</version>
    </dependency>
    <dependency>
      <groupId>ch.qos.reload4j</groupId>
      <artifactId>reload4j</artifactId>
      <version>1.2.25</version>
    </dependency>
  </dependencies>
</project>
POM
}
