package peers;

import java.io.IOException;
import java.time.Duration;
import java.util.Arrays;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.producer.ProducerRecord;

/** The task for Flink's DataStream API: keyed state on the heap, checkpoints, at least once, a local mini cluster. */
public final class FlinkPeer {
    private static final String[] PROVINCES =
        ("110000 120000 130000 140000 150000 210000 220000 230000 310000 320000 330000 340000 350000 360000 370000"
         + " 410000 420000 430000 440000 450000 460000 500000 510000 520000 530000 540000 610000 620000 630000 640000"
         + " 650000 660000").split(" ");

    private FlinkPeer() {}

    /** What is kept of a product, by index of the province; price 0: none. */
    public static final class Product {
        public long[] priceE4 = new long[PROVINCES.length];
        public long[] at = new long[PROVINCES.length];
        public long[] seq = new long[PROVINCES.length];
        public int[] band = new int[PROVINCES.length];
        public long lowestE4;

        public Product() {}
    }

    /** Reads quotes. */
    static final class QuoteSchema implements DeserializationSchema<Quote> {
        @Override
        public Quote deserialize(byte[] message) throws IOException {
            return Quote.parse(message);
        }

        @Override
        public boolean isEndOfStream(Quote quote) {
            return false;
        }

        @Override
        public TypeInformation<Quote> getProducedType() {
            return TypeInformation.of(Quote.class);
        }
    }

    /** Keeps prices and tells what changes. */
    static final class Linkage extends KeyedProcessFunction<String, Quote, Event> {
        private transient ValueState<Product> products;

        @Override
        public void open(OpenContext context) {
            products = getRuntimeContext().getState(new ValueStateDescriptor<>("products", Product.class));
        }

        @Override
        public void processElement(Quote quote, Context context, Collector<Event> out) throws IOException {
            Product product = products.value();
            if (product == null) {
                product = new Product();
            }
            int province = Arrays.binarySearch(PROVINCES, quote.province);
            long beforeE4 = product.priceE4[province];
            if (beforeE4 != 0 && (quote.at < product.at[province]
                || quote.at == product.at[province] && quote.seq <= product.seq[province])) {
                return;
            }
            product.at[province] = quote.at;
            product.seq[province] = quote.seq;
            product.priceE4[province] = quote.priceE4;
            if (quote.priceE4 != beforeE4) {
                evaluate(product, quote, province, beforeE4, out);
            }
            products.update(product);
        }

        private static void evaluate(Product product, Quote quote, int province, long beforeE4, Collector<Event> out) {
            long lowestE4 = product.lowestE4;
            if (lowestE4 == 0 || quote.priceE4 < lowestE4) {
                lowestE4 = quote.priceE4;
            } else if (beforeE4 == lowestE4) {
                lowestE4 = Arrays.stream(product.priceE4).filter(price -> price > 0).min().getAsLong();
            }
            int first = province;
            int last = province;
            if (lowestE4 != product.lowestE4) {
                product.lowestE4 = lowestE4;
                out.collect(Event.lowest(quote, lowestE4));
                first = 0;
                last = PROVINCES.length - 1;
            }
            for (int index = first; index <= last; index++) {
                int now = Event.bandOf(product.priceE4[index], lowestE4);
                if (now != product.band[index]) {
                    product.band[index] = now;
                    out.collect(Event.band(quote, PROVINCES[index], now, product.priceE4[index], lowestE4));
                }
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        Configuration configuration = new Configuration();
        configuration.set(PipelineOptions.OBJECT_REUSE, true);
        configuration.set(StateBackendOptions.STATE_BACKEND, "hashmap");
        configuration.set(CheckpointingOptions.CHECKPOINT_STORAGE, "filesystem");
        configuration.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, "file://" + System.getenv("PEER_STATE"));
        configuration.set(CheckpointingOptions.CHECKPOINTING_INTERVAL, Duration.ofSeconds(10));
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.getExecutionEnvironment(configuration);
        environment.setParallelism(2);
        environment.setBufferTimeout(5);
        KafkaSource<Quote> feeds = KafkaSource.<Quote>builder()
            .setBootstrapServers(System.getenv("PEER_BOOTSTRAP"))
            .setTopics(System.getenv("PEER_IN"))
            .setGroupId(System.getenv("PEER_GROUP"))
            .setStartingOffsets(OffsetsInitializer.earliest())
            .setValueOnlyDeserializer(new QuoteSchema())
            .setProperty("max.poll.records", "5000")
            .build();
        String topic = System.getenv("PEER_OUT");
        KafkaRecordSerializationSchema<Event> toRecord =
            (event, context, timestamp) -> new ProducerRecord<>(topic, event.key(), event.json());
        KafkaSink<Event> out = KafkaSink.<Event>builder()
            .setBootstrapServers(System.getenv("PEER_BOOTSTRAP"))
            .setRecordSerializer(toRecord)
            .setDeliveryGuarantee(DeliveryGuarantee.AT_LEAST_ONCE)
            .setProperty("acks", "all")
            .setProperty("linger.ms", "5")
            .setProperty("batch.size", "262144")
            .setProperty("compression.type", "lz4")
            .build();
        environment.fromSource(feeds, WatermarkStrategy.noWatermarks(), "feeds")
            .keyBy(quote -> quote.code)
            .process(new Linkage())
            .sinkTo(out);
        environment.execute("peers");
    }
}
