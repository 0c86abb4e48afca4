# How a Pulsar standalone is set up and run. Sourced by ../start.
#
# Broker and bookie in one process, metadata in RocksDB, no functions, no stream storage. It listens
# plainly and with TLS, takes clients without credentials and those with the token that `addresses`
# names, refuses those with another one, and keeps what has been read. It listens once more, behind a
# network of a test's own: that listens at FRONT, where clients are told to go, and passes on to BACK.

ready='messaging service is ready'

# The tests compile a program that uses Pulsar's own client.
command -v javac >/dev/null || unavailable "there is no javac" "apt-get install openjdk-17-jdk-headless"

# The token says `alice`, and is signed (HS256) with a key that is nowhere else.
key=dGhhbHdlZy10ZXN0cy1vbmx5LTMyLWJ5dGUta2V5ISE=
token=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.iFkV8di-5VLiDB2Oa4yYQbYKP_xw2JsyOo7awKtQovY

configure() {
    local broker tls web bookie front back
    broker=$(free_port) tls=$(free_port) web=$(free_port) bookie=$(free_port)
    front=$(free_port) back=$(free_port)
    rm -rf "$dir/data" "$dir/broker.p12"
    keytool -genkeypair -alias broker -keyalg EC -dname CN=localhost -validity 365 \
        -ext san=dns:localhost,ip:127.0.0.1 -storetype PKCS12 \
        -keystore "$dir/broker.p12" -storepass thalweg >/dev/null 2>&1
    keytool -exportcert -rfc -alias broker -keystore "$dir/broker.p12" -storepass thalweg \
        >"$dir/ca.pem" 2>/dev/null
    cat >"$dir/standalone.conf" <<SETTINGS
clusterName=standalone
brokerServicePort=$broker
brokerServicePortTls=$tls
tlsEnabledWithKeyStore=true
tlsKeyStoreType=PKCS12
tlsKeyStore=$dir/broker.p12
tlsKeyStorePassword=thalweg
authenticationEnabled=true
authenticationProviders=org.apache.pulsar.broker.authentication.AuthenticationProviderToken
tokenSecretKey=data:;base64,$key
anonymousUserRole=anonymous
webServicePort=$web
bindAddress=127.0.0.1
advertisedListeners=direct:pulsar://127.0.0.1:$broker,direct:pulsar+ssl://127.0.0.1:$tls,behind:pulsar://127.0.0.1:$front
internalListenerName=direct
bindAddresses=behind:pulsar://127.0.0.1:$back
managedLedgerDefaultEnsembleSize=1
managedLedgerDefaultWriteQuorum=1
managedLedgerDefaultAckQuorum=1
allowLoopback=true
allowAutoTopicCreation=true
brokerDeleteInactiveTopicsEnabled=false
defaultRetentionTimeInMinutes=-1
defaultRetentionSizeInMB=-1
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
THALWEG_TEST_PULSAR_TLS=pulsar+ssl://localhost:$tls
THALWEG_TEST_PULSAR_FRONT=pulsar://127.0.0.1:$front
THALWEG_TEST_PULSAR_BACK=pulsar://127.0.0.1:$back
THALWEG_TEST_PULSAR_TOKEN=$token
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
