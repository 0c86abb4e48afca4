# How a Pulsar standalone is set up and run. Sourced by ../start.
#
# Broker and bookie in one process, metadata in RocksDB, no functions, no stream storage.

ready='messaging service is ready'

configure() {
    local broker web bookie
    broker=$(free_port) web=$(free_port) bookie=$(free_port)
    rm -rf "$dir/data"
    cat >"$dir/standalone.conf" <<SETTINGS
clusterName=standalone
brokerServicePort=$broker
webServicePort=$web
bindAddress=127.0.0.1
advertisedAddress=127.0.0.1
managedLedgerDefaultEnsembleSize=1
managedLedgerDefaultWriteQuorum=1
managedLedgerDefaultAckQuorum=1
allowLoopback=true
allowAutoTopicCreation=true
systemTopicEnabled=true
topicLevelPoliciesEnabled=true
numIOThreads=2
numHttpServerThreads=8
journalSyncData=false
dbStorage_writeCacheMaxSizeMb=32
dbStorage_readAheadCacheMaxSizeMb=16
dbStorage_rocksDB_blockCacheSize=16777216
managedLedgerCacheSizeMB=32
SETTINGS
    echo "$bookie" >"$dir/bookie.port"
    cat >"$dir/addresses" <<ADDRESSES
THALWEG_TEST_PULSAR=pulsar://127.0.0.1:$broker
THALWEG_TEST_PULSAR_WEB=http://127.0.0.1:$web
THALWEG_TEST_PULSAR_DIR=$dir
THALWEG_TEST_PULSAR_JARS=$jars
ADDRESSES
}

run() {
    launch -Xmx768m -XX:MaxDirectMemorySize=512m -cp "$jars/*" \
        -Dio.netty.tryReflectionSetAccessible=true \
        --add-opens java.base/java.nio=ALL-UNNAMED \
        --add-opens java.base/java.util.zip=ALL-UNNAMED \
        --add-opens java.base/jdk.internal.misc=ALL-UNNAMED \
        --add-opens java.base/sun.net=ALL-UNNAMED \
        --add-opens java.management/sun.management=ALL-UNNAMED \
        --add-opens jdk.management/com.sun.management.internal=ALL-UNNAMED \
        org.apache.pulsar.PulsarStandaloneStarter \
        --config "$dir/standalone.conf" \
        --metadata-dir "$dir/data/metadata" --bookkeeper-dir "$dir/data/bookkeeper" \
        --bookkeeper-port "$(cat "$dir/bookie.port")" \
        --advertised-address 127.0.0.1 --no-functions-worker --no-stream-storage
}
