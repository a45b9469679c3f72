package peers;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.DeserializationFeature;
import java.io.IOException;
import java.math.BigDecimal;
import java.time.OffsetDateTime;

/** A quote: price per piece in 1/10,000 yuan, time in milliseconds since the epoch. */
public final class Quote {
    private static final ObjectMapper JSON =
        new ObjectMapper().enable(DeserializationFeature.USE_BIG_DECIMAL_FOR_FLOATS);

    public String code;
    public String province;
    public long at;
    public long seq;
    public long priceE4;

    public Quote() {}

    /** Reads a message of the feeds topic. */
    public static Quote parse(byte[] message) throws IOException {
        JsonNode record = JSON.readTree(message);
        Quote quote = new Quote();
        quote.code = record.get("code").textValue();
        quote.province = record.get("province").textValue();
        JsonNode at = record.get("at");
        quote.at = at.isTextual() ? OffsetDateTime.parse(at.textValue()).toInstant().toEpochMilli() : at.longValue();
        quote.seq = record.has("seq") ? record.get("seq").longValue() : 0;
        BigDecimal price = record.get("price").decimalValue();
        long e4 = price.movePointRight(4).longValueExact();
        long packSize = record.has("pack_size") ? record.get("pack_size").longValue() : 1;
        quote.priceE4 = packSize == 1 ? e4 : (2 * e4 + packSize) / (2 * packSize);
        return quote;
    }
}
