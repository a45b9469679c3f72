package peers;

import java.nio.charset.StandardCharsets;

/** An event of the task: a province's band, or, where the province is null, the national lowest. */
public final class Event {
    static final String[] BANDS = {"none", "blue", "yellow", "red"};

    public String code;
    public String province;
    public int band;
    public long priceE4;
    public long lowestE4;
    public long at;

    public Event() {}

    static Event lowest(Quote quote, long lowestE4) {
        Event event = new Event();
        event.code = quote.code;
        event.at = quote.at;
        event.lowestE4 = lowestE4;
        return event;
    }

    static Event band(Quote quote, String province, int band, long priceE4, long lowestE4) {
        Event event = lowest(quote, lowestE4);
        event.province = province;
        event.band = band;
        event.priceE4 = priceE4;
        return event;
    }

    /** Returns the band of a price over the lowest price of the country; whoever has the lowest has none. */
    static int bandOf(long priceE4, long lowestE4) {
        if (priceE4 <= lowestE4) {
            return 0;
        }
        long excessBp = (priceE4 - lowestE4) * 10_000 / lowestE4;
        return excessBp >= 2000 ? 3 : excessBp >= 500 ? 2 : 1;
    }

    byte[] key() {
        return code.getBytes(StandardCharsets.UTF_8);
    }

    /** All texts in it are codes, so nothing has to be escaped. */
    byte[] json() {
        StringBuilder json = new StringBuilder(160).append("{\"code\":\"").append(code).append("\",");
        if (province != null) {
            json.append("\"province\":\"").append(province).append("\",\"band\":\"").append(BANDS[band])
                .append("\",\"price_e4\":").append(priceE4).append(',');
        }
        json.append("\"lowest_e4\":").append(lowestE4).append(",\"at\":").append(at).append('}');
        return json.toString().getBytes(StandardCharsets.UTF_8);
    }
}
