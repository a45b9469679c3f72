package peers;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueBytesStoreSupplier;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * The task for Kafka Streams, Processor API: one store of slots (code and province), one of the lowest by code, both with
 * their changelogs. Argument `memory`: in-memory stores behind the record cache, at least once; `exactly-once`: as it
 * comes, RocksDB and exactly_once_v2.
 */
public final class KafkaStreamsPeer {
    private static final String SLOTS = "slots";
    private static final String LOWEST = "lowest";

    private KafkaStreamsPeer() {}

    /** Keeps prices by slot: time, sequence number, price, band. */
    static final class Linkage implements Processor<byte[], byte[], byte[], byte[]> {
        private ProcessorContext<byte[], byte[]> context;
        private KeyValueStore<String, byte[]> slots;
        private KeyValueStore<String, Long> lowest;

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
            slots = context.getStateStore(SLOTS);
            lowest = context.getStateStore(LOWEST);
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            Quote quote;
            try {
                quote = Quote.parse(record.value());
            } catch (IOException fault) {
                throw new UncheckedIOException(fault);
            }
            String slot = quote.code + quote.province;
            byte[] raw = slots.get(slot);
            long beforeE4 = 0;
            int band = 0;
            if (raw != null) {
                ByteBuffer before = ByteBuffer.wrap(raw);
                long at = before.getLong();
                long seq = before.getLong();
                beforeE4 = before.getLong();
                band = before.get();
                if (quote.at < at || quote.at == at && quote.seq <= seq) {
                    return;
                }
            }
            if (quote.priceE4 == beforeE4) {
                slots.put(slot, pack(quote.at, quote.seq, quote.priceE4, band));
                return;
            }
            Long known = lowest.get(quote.code);
            long lowestE4 = known == null || quote.priceE4 < known ? quote.priceE4 : known;
            if (known != null && beforeE4 == known && quote.priceE4 > known) {
                slots.put(slot, pack(quote.at, quote.seq, quote.priceE4, band));
                lowestE4 = leastOf(quote.code);
            }
            if (known != null && lowestE4 == known) {
                int now = Event.bandOf(quote.priceE4, lowestE4);
                slots.put(slot, pack(quote.at, quote.seq, quote.priceE4, now));
                if (now != band) {
                    emit(Event.band(quote, quote.province, now, quote.priceE4, lowestE4));
                }
                return;
            }
            slots.put(slot, pack(quote.at, quote.seq, quote.priceE4, band));
            lowest.put(quote.code, lowestE4);
            emit(Event.lowest(quote, lowestE4));
            evaluateAll(quote, lowestE4);
        }

        private void evaluateAll(Quote quote, long lowestE4) {
            List<KeyValue<String, byte[]>> found = new ArrayList<>();
            try (KeyValueIterator<String, byte[]> all = slots.range(quote.code, quote.code + "~")) {
                all.forEachRemaining(found::add);
            }
            for (KeyValue<String, byte[]> entry : found) {
                ByteBuffer slot = ByteBuffer.wrap(entry.value);
                long priceE4 = slot.getLong(16);
                int now = Event.bandOf(priceE4, lowestE4);
                if (now != slot.get(24)) {
                    slots.put(entry.key, pack(slot.getLong(0), slot.getLong(8), priceE4, now));
                    String province = entry.key.substring(quote.code.length());
                    emit(Event.band(quote, province, now, priceE4, lowestE4));
                }
            }
        }

        private long leastOf(String code) {
            long least = Long.MAX_VALUE;
            try (KeyValueIterator<String, byte[]> all = slots.range(code, code + "~")) {
                while (all.hasNext()) {
                    least = Math.min(least, ByteBuffer.wrap(all.next().value).getLong(16));
                }
            }
            return least;
        }

        private static byte[] pack(long at, long seq, long priceE4, int band) {
            return ByteBuffer.allocate(25).putLong(at).putLong(seq).putLong(priceE4).put((byte) band).array();
        }

        private void emit(Event event) {
            context.forward(new Record<>(event.key(), event.json(), System.currentTimeMillis()));
        }
    }

    private static KeyValueBytesStoreSupplier supplier(String name, boolean memory) {
        return memory ? Stores.inMemoryKeyValueStore(name) : Stores.persistentKeyValueStore(name);
    }

    public static void main(String[] arguments) {
        boolean memory = arguments[0].equals("memory");
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, System.getenv("PEER_GROUP"));
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, System.getenv("PEER_BOOTSTRAP"));
        properties.put(StreamsConfig.STATE_DIR_CONFIG, System.getenv("PEER_STATE"));
        properties.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        properties.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 5);
        if (memory) {
            properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 5_000);
            properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 512L << 20);
            properties.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 262_144);
            properties.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
            properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 5_000);
        } else {
            properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        }
        var slots = Stores.keyValueStoreBuilder(supplier(SLOTS, memory), Serdes.String(), Serdes.ByteArray());
        var lowest = Stores.keyValueStoreBuilder(supplier(LOWEST, memory), Serdes.String(), Serdes.Long());
        Topology topology = new Topology();
        topology.addSource("feeds", new ByteArrayDeserializer(), new ByteArrayDeserializer(), System.getenv("PEER_IN"));
        topology.addProcessor("linkage", Linkage::new, "feeds");
        topology.addStateStore(memory ? slots.withCachingEnabled() : slots, "linkage");
        topology.addStateStore(memory ? lowest.withCachingEnabled() : lowest, "linkage");
        topology.addSink(
            "out", System.getenv("PEER_OUT"), new ByteArraySerializer(), new ByteArraySerializer(), "linkage");
        KafkaStreams streams = new KafkaStreams(topology, properties);
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }
}
