# How a Kafka broker is set up and run. Sourced by ../start.
#
# One node, in KRaft mode, with five listeners: plain, TLS, two that want credentials, one of them over
# TLS, and one behind a network. The user is `alice`, her password `alice-secret`; any unsecured token is
# taken, too. The network is a test's own: it listens at FRONT, where clients are told to go, and passes
# on to BACK.

ready='Kafka Server started'

kafka_java() { # main class, arguments
    java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$jars/*" "$@"
}

configure() {
    local plain tls sasl sasl_tls controller front back
    plain=$(free_port) tls=$(free_port) sasl=$(free_port) sasl_tls=$(free_port) controller=$(free_port)
    front=$(free_port) back=$(free_port)
    rm -rf "$dir/data" "$dir/broker.p12"
    keytool -genkeypair -alias broker -keyalg EC -dname CN=localhost -validity 365 \
        -ext san=dns:localhost,ip:127.0.0.1 -ext bc:c -storetype PKCS12 \
        -keystore "$dir/broker.p12" -storepass thalweg >/dev/null 2>&1
    keytool -exportcert -rfc -alias broker -keystore "$dir/broker.p12" -storepass thalweg \
        >"$dir/ca.pem" 2>/dev/null
    local listener module=org.apache.kafka.common.security
    {
        cat <<SETTINGS
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:$controller
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAIN
listeners=PLAIN://127.0.0.1:$plain,TLS://127.0.0.1:$tls,SASL://127.0.0.1:$sasl,SASL_TLS://127.0.0.1:$sasl_tls,BEHIND://127.0.0.1:$back,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAIN://127.0.0.1:$plain,TLS://127.0.0.1:$tls,SASL://127.0.0.1:$sasl,SASL_TLS://127.0.0.1:$sasl_tls,BEHIND://127.0.0.1:$front
listener.security.protocol.map=PLAIN:PLAINTEXT,TLS:SSL,SASL:SASL_PLAINTEXT,SASL_TLS:SASL_SSL,BEHIND:PLAINTEXT,CONTROLLER:PLAINTEXT
ssl.keystore.type=PKCS12
ssl.keystore.location=$dir/broker.p12
ssl.keystore.password=thalweg
log.dirs=$dir/data
auto.create.topics.enable=false
broker.heartbeat.interval.ms=1000
broker.session.timeout.ms=9000
group.initial.rebalance.delay.ms=0
message.max.bytes=8000000
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.replication.factor=1
SETTINGS
        for listener in sasl sasl_tls; do
            cat <<SETTINGS
listener.name.$listener.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.$listener.plain.sasl.jaas.config=$module.plain.PlainLoginModule required user_alice="alice-secret";
listener.name.$listener.scram-sha-256.sasl.jaas.config=$module.scram.ScramLoginModule required;
listener.name.$listener.scram-sha-512.sasl.jaas.config=$module.scram.ScramLoginModule required;
listener.name.$listener.oauthbearer.sasl.jaas.config=$module.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";
SETTINGS
        done
    } >"$dir/server.properties"
    kafka_java kafka.tools.StorageTool format --cluster-id thalweg-tests-00000000 \
        --standalone --config "$dir/server.properties" \
        --add-scram 'SCRAM-SHA-256=[name=alice,password=alice-secret]' \
        --add-scram 'SCRAM-SHA-512=[name=alice,password=alice-secret]' >"$dir/format.log" 2>&1 ||
        { cat "$dir/format.log" >&2 && fail "the storage of kafka cannot be formatted"; }
    cat >"$dir/addresses" <<ADDRESSES
THALWEG_TEST_KAFKA=127.0.0.1:$plain
THALWEG_TEST_KAFKA_TLS=127.0.0.1:$tls
THALWEG_TEST_KAFKA_SASL=127.0.0.1:$sasl
THALWEG_TEST_KAFKA_SASL_TLS=127.0.0.1:$sasl_tls
THALWEG_TEST_KAFKA_FRONT=127.0.0.1:$front
THALWEG_TEST_KAFKA_BACK=127.0.0.1:$back
THALWEG_TEST_KAFKA_DIR=$dir
THALWEG_TEST_KAFKA_JARS=$jars
ADDRESSES
}

# Starts the controller alone until it has given up the broker, which was killed. A broker that comes back
# sooner takes itself for the leader of its partitions at first, and then is the leader of none for a moment:
# transactions that were being committed lose the markers that it writes in between, and hang.
fence() {
    sed -e 's/^process.roles=.*/process.roles=controller/' \
        -e 's/^listeners=.*,\(CONTROLLER:.*\)/listeners=\1/' \
        -e '/^advertised.listeners=/d' -e '/^inter.broker.listener.name=/d' \
        -e 's/^broker.session.timeout.ms=.*/broker.session.timeout.ms=1000/' \
        "$dir/server.properties" >"$dir/controller.properties"
    launch -Xmx256m -cp "$jars/*" kafka.Kafka "$dir/controller.properties"
    wait_for_line "$(cat "$dir/pid")" "$ready" || return 0
    # Where it had been given up before, nothing is said.
    for _ in $(seq 25); do
        grep -q 'handleBrokerFenced' "$dir/server.log" && break
        sleep 0.2
    done
    terminate "$dir"
}

run() {
    # What was stopped in good order has left no process behind.
    [ ! -f "$dir/pid" ] || fence
    launch -Xmx768m -cp "$jars/*" kafka.Kafka "$dir/server.properties"
}
