# shellcheck shell=bash
# What the five search engines are made of, and how an installation is assembled. Sourced by engine.sh.
#
# The vendors publish their servers as jars, but the ready-made downloads come from hosts of their own. An installation
# is therefore put together from the jars: the server and the modules it cannot do without, each module with the
# descriptor that its build would have written. The result in the cache is
#   lib/           the server's class path
#   modules/NAME/  one module: its jars, plugin-descriptor.properties, perhaps plugin-security.policy
#   recipe         checksum of everything it was made from; another one means assembling anew

CACHE=${DIFYLOG_CACHE:-${HOME:-/root}/.cache/difylog}/engines

# Sets what is known about the engine NAME: FAMILY, MAJOR, VERSION, JDK (its home), RELEASE (of Java), HOME_CACHED.
describe_engine() { # NAME
  FAMILY=${1%-*} MAJOR=${1##*-}
  local key=${FAMILY^^}_$MAJOR
  case $1 in
    # These need the security manager, which Java removed in 24, and were built for 17.
    opensearch-2 | elasticsearch-7 | elasticsearch-8) RELEASE=17 ;;
    opensearch-3 | elasticsearch-9) RELEASE=21 ;;
    *) die "unknown engine '$1': opensearch-2, opensearch-3, elasticsearch-7, elasticsearch-8 or elasticsearch-9" ;;
  esac
  VERSION=${!key}
  JDK=$(find_jdk "$RELEASE") || die "no JDK for $1; run $SERVERS_DIR/install.sh engines"
  HOME_CACHED=$CACHE/$1-$VERSION
}

# ---- assembling --------------------------------------------------------------------------------------------

# Makes sure that HOME_CACHED is there and up to date. Built in a temporary folder and renamed, under a lock: a reader
# never sees half of one, and of two that start together one builds and the other waits.
assemble() { # NAME
  local recipe
  recipe=$(cat "$SERVERS_DIR"/engines.sh "$SERVERS_DIR"/versions.env "$SERVERS_DIR"/java/*/*.java | cksum)
  recipe="$recipe $(java_version "$JDK")"
  [[ $(cat "$HOME_CACHED/recipe" 2>/dev/null) != "$recipe" ]] || return 0
  mkdir -p "$CACHE"
  WORK=$(mktemp -d "$CACHE/.build.XXXXXX")
  (
    trap 'rm -rf "$WORK"' EXIT
    flock 9
    [[ $(cat "$HOME_CACHED/recipe" 2>/dev/null) != "$recipe" ]] || exit 0
    log "assembling $1 $VERSION (downloads its jars the first time)"
    need mvn engines
    mkdir -p "$WORK"/{poms,home/lib,home/modules,home/plugins,home/bin}   # the engine insists on the last two
    "assemble_$FAMILY"
    chmod -R u+w,a+rX "$WORK/home"   # whatever the umask is: the server's user must be able to read it
    echo "$recipe" >"$WORK/home/recipe"
    rm -rf "$HOME_CACHED"
    mv -T "$WORK/home" "$HOME_CACHED"
    log "assembled $HOME_CACHED"
  ) 9>"$CACHE/.lock"
}

assemble_opensearch() {
  local log4j_key=OPENSEARCH_${MAJOR}_LOG4J plugin=Plugin libraries
  local log4j=${!log4j_key}
  libraries=("org.opensearch:opensearch:$VERSION" "org.opensearch:opensearch-plugin-classloader:$VERSION"
    "org.apache.logging.log4j:log4j-core:$log4j")
  if ((MAJOR >= 3)); then
    libraries+=("org.opensearch:opensearch-agent-bootstrap:$VERSION")
    plugin=ModulePlugin   # how the modules' classes are named since 3
  fi
  project lib "${libraries[@]}"
  project transport-netty4 "org.opensearch.plugin:transport-netty4-client:$VERSION"
  project lang-painless "org.opensearch.plugin:lang-painless:$VERSION"
  project analysis-common "org.opensearch.plugin:analysis-common:$VERSION"
  fetch_jars
  local api
  api=$(cd "$WORK/home/lib" && echo log4j-api-*.jar)
  [[ $api == "log4j-api-$log4j.jar" ]] || die "OpenSearch $VERSION comes with $api: write that version to $log4j_key"
  module transport-netty4 "org.opensearch.transport.Netty4$plugin"
  module lang-painless "org.opensearch.painless.Painless$plugin"
  # analysis-common extends painless, the only reason to have it here.
  module analysis-common "org.opensearch.analysis.common.CommonAnalysis$plugin" lang-painless
}

assemble_elasticsearch() {
  project lib "org.elasticsearch:elasticsearch:$VERSION"
  if ((MAJOR == 7)); then
    project transport-netty4 "org.elasticsearch.plugin:transport-netty4-client:$VERSION"
  else
    project transport-netty4 "org.elasticsearch.plugin:transport-netty4:$VERSION"
  fi
  fetch_jars
  if ((MAJOR == 7)); then
    module transport-netty4 org.elasticsearch.transport.Netty4Plugin
    compile "$WORK/home/modules/analysis-common/stand-in.jar" analysis elasticsearch7
  else
    module transport-netty4 org.elasticsearch.transport.netty4.Netty4Plugin
    compile "$WORK/home/modules/analysis-common/stand-in.jar" analysis rest "elasticsearch$MAJOR"
    compile "$WORK/home/lib/launcher.jar" launch
    link_zstd
  fi
  module analysis-common difylog.standin.StandInModule
}

# The server's native access looks for libzstd in its own folder, where the download has a copy.
link_zstd() {
  local platform=linux-x64 library
  [[ $(uname -m) != aarch64 ]] || platform=linux-aarch64
  library=$(find_zstd) || die "libzstd.so.1 is missing; run $SERVERS_DIR/install.sh engines"
  mkdir -p "$WORK/home/lib/platform/$platform"
  ln -s "$library" "$WORK/home/lib/platform/$platform/libzstd.so"
}

find_zstd() {
  local library
  for library in /usr/lib/*/libzstd.so.1 /usr/lib/libzstd.so.1 /usr/lib64/libzstd.so.1; do
    [[ ! -e $library ]] || { echo "$library"; return; }
  done
  return 1
}

# One Maven project per class path, so that one run of mvn fetches them all.
project() { # NAME GROUP:ARTIFACT:VERSION...
  local name=$1 dependency group artifact version
  shift
  mkdir "$WORK/poms/$name"
  {
    echo '<project><modelVersion>4.0.0</modelVersion>'
    echo '<parent><groupId>difylog.test</groupId><artifactId>all</artifactId><version>1</version></parent>'
    echo "<artifactId>$name</artifactId><packaging>pom</packaging><dependencies>"
    for dependency; do
      IFS=: read -r group artifact version <<<"$dependency"
      echo "<dependency><groupId>$group</groupId><artifactId>$artifact</artifactId><version>$version</version></dependency>"
    done
    echo '</dependencies></project>'
  } >"$WORK/poms/$name/pom.xml"
}

# Fetches the jars of every project. A module's jars that the server has too are left out: a class found twice makes
# the server refuse to start ("jar hell").
fetch_jars() {
  local folder name jar to
  {
    echo '<project><modelVersion>4.0.0</modelVersion><groupId>difylog.test</groupId><artifactId>all</artifactId>'
    echo '<version>1</version><packaging>pom</packaging><modules>'
    for folder in "$WORK"/poms/*/; do echo "<module>$(basename "$folder")</module>"; done
    echo '</modules></project>'
  } >"$WORK/poms/pom.xml"
  mvn -q -B -f "$WORK/poms/pom.xml" \
    "org.apache.maven.plugins:maven-dependency-plugin:$MAVEN_DEPENDENCY_PLUGIN:copy-dependencies" \
    -DincludeScope=runtime >"$WORK/mvn.log" 2>&1 || { tail_of "$WORK/mvn.log"; die "mvn could not fetch the jars"; }
  mv "$WORK"/poms/lib/target/dependency/*.jar "$WORK/home/lib/"
  for folder in "$WORK"/poms/*/; do
    name=$(basename "$folder")
    [[ $name != lib ]] || continue
    to=$WORK/home/modules/$name
    mkdir "$to"
    for jar in "$folder"target/dependency/*.jar; do
      [[ -e $WORK/home/lib/$(basename "$jar") ]] || mv "$jar" "$to/"
    done
  done
}

# Writes what the module's build would have put beside its jars.
module() { # NAME CLASS [EXTENDED_MODULE]
  local folder=$WORK/home/modules/$1
  cat >"$folder/plugin-descriptor.properties" <<PROPERTIES
name=$1
description=$1
classname=$2
version=$VERSION
$FAMILY.version=$VERSION
java.version=$RELEASE
has.native.controller=false
extended.plugins=${3:-}
PROPERTIES
  # Where there is a security manager, the network and the script compiler need these.
  if [[ $FAMILY-$MAJOR == opensearch-2 || $FAMILY-$MAJOR == elasticsearch-7 ]]; then
    cat >"$folder/plugin-security.policy" <<'POLICY'
grant {
  permission java.net.SocketPermission "*", "accept,connect,resolve";
  permission java.lang.RuntimePermission "getClassLoader";
  permission java.lang.RuntimePermission "setContextClassLoader";
  permission java.lang.RuntimePermission "createClassLoader";
  permission java.lang.reflect.ReflectPermission "suppressAccessChecks";
  permission java.util.PropertyPermission "*", "write";
};
POLICY
  fi
}

# Compiles folders of java/ against the server into a jar.
compile() { # JAR FOLDER...
  local jar=$1 classes sources=() folder
  shift
  classes=$(mktemp -d "$WORK/classes.XXXXXX")
  for folder; do sources+=("$SERVERS_DIR/java/$folder"/*.java); done
  mkdir -p "$(dirname "$jar")"
  "$JDK/bin/javac" -nowarn -proc:none --release "$RELEASE" -cp "$WORK/home/lib/*" -d "$classes" "${sources[@]}" \
    >"$WORK/javac.log" 2>&1 || { tail_of "$WORK/javac.log"; die "the stand-ins do not compile against $FAMILY $VERSION"; }
  "$JDK/bin/jar" --create --file "$jar" -C "$classes" .
}

# ---- running -----------------------------------------------------------------------------------------------

# Sets JAVA_ARGUMENTS: what the engine is started with, besides heap and temporary folder.
java_arguments() { # HOME CONFIG
  local prefix=es main=org.elasticsearch.bootstrap.Launcher
  [[ $FAMILY == elasticsearch ]] || prefix=opensearch main=org.opensearch.bootstrap.OpenSearch
  JAVA_ARGUMENTS=("-D$prefix.path.home=$1" "-D$prefix.path.conf=$2" "-D$prefix.distribution.type=tar"
    "-D$prefix.bundled_jdk=false" -Djava.awt.headless=true -Dfile.encoding=UTF-8
    # As in the vendors' own jvm.options.
    -Dlog4j2.disable.jmx=true -Dlog4j.shutdownHookEnabled=false
    -Dio.netty.noUnsafe=true -Dio.netty.noKeySetOptimization=true -Dio.netty.recycler.maxCapacityPerThread=0)
  case $FAMILY-$MAJOR in
    opensearch-2) JAVA_ARGUMENTS+=(-Djava.security.manager=allow) ;;
    opensearch-3) JAVA_ARGUMENTS+=(--add-modules=jdk.incubator.vector) ;;
    elasticsearch-7)
      main=org.elasticsearch.bootstrap.Elasticsearch
      JAVA_ARGUMENTS+=(-Des.distribution.flavor=default -Djava.security.manager=allow)
      ;;
    elasticsearch-9)
      # The vector library is a native one that only the download has.
      JAVA_ARGUMENTS+=(--enable-native-access=ALL-UNNAMED --add-modules=jdk.incubator.vector
        -Dorg.elasticsearch.nativeaccess.enableVectorLibrary=false)
      ;;
  esac
  JAVA_ARGUMENTS+=(-cp "$1/lib/*" "$main")
}
