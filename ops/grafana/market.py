"""Dashboard *Market*: what is open, what is new, what waits for a decision."""

from typing import Final

from ops.grafana.panels import AMBER, GREEN, PROVINCE, RED, Board, Panel, Query

_OPEN: Final = 'pricelink:province_open_alerts:max{province=~"$province"'
_ARREARS: Final = ',kind="settlement_arrears"'


def _open(by: str, where: str = "") -> str:
    return f"sum by ({by}) ({_OPEN}{where}}})"


MARKET: Final = Board(
    "pricelink-market",
    "pricelink: Market",
    "Open alerts, new ones, holds, shortfalls and arrears, of all provinces or of some.",
    (PROVINCE,),
    (
        (
            "Open alerts",
            (
                Panel(
                    "Open by band",
                    "Alerts that are open now. Red that rises for hours: look below which kind and province, then open the page's list.",
                    "short",
                    (Query(_open("band"), "{{band}}"),),
                    draw="figure",
                    width=6,
                    decimals=0,
                ),
                Panel(
                    "Open by kind",
                    "A kind that jumps at once is seldom the market: look whether a province sent a whole list anew, or whether the policy changed.",
                    "short",
                    (Query(_open("kind"), "{{kind}}"),),
                    draw="stacked",
                    width=9,
                ),
                Panel(
                    "Open by province, the ten with most",
                    "A province that stands out has stopped adjusting its prices, or its feed is wrong: compare with its dead letters and its silence.",
                    "short",
                    (Query(f"topk(10, {_open('province')})", "{{province}}"),),
                    width=9,
                ),
            ),
        ),
        (
            "New",
            (
                Panel(
                    "New alerts per hour, by kind",
                    "Alerts opened within the last hour, bargained orders counted as well. A storm of one kind: see Stream, whether a feed caught up at once.",
                    "short",
                    (
                        Query(
                            'sum by (kind) (increase(pricelink_alerts_total{change=~"opened|observed"}[1h]))',
                            "{{kind}}",
                        ),
                    ),
                    draw="stacked",
                ),
                Panel(
                    "Other changes per hour",
                    "What became of alerts that were open. None resolved for a day: provinces do not adjust, or their feeds stand still.",
                    "short",
                    (
                        Query(
                            'sum by (change) (increase(pricelink_alerts_total{change!~"opened|observed"}[1h]))',
                            "{{change}}",
                        ),
                    ),
                ),
                Panel(
                    "Changes of lowest prices a minute",
                    "Changes of a product's national lowest price. None for hours on a working day: no province sends quotes; see feed silence.",
                    "short",
                    (Query("sum(rate(pricelink_price_changes_total[5m])) * 60", "changes"),),
                ),
            ),
        ),
        (
            "Holds",
            (
                Panel(
                    "Holds waiting, by province",
                    "Quotes too low to believe. Each needs a decision: `decision` records confirm or reject; the page's list names the quotes.",
                    "short",
                    (Query(_open("province", ',kind="price_hold"'), "{{province}}"),),
                    draw="stacked",
                    width=12,
                ),
                Panel(
                    "Age of the oldest hold, by province",
                    "A day is long: the province buys at the old price meanwhile. Ask its desk, then confirm or reject.",
                    "s",
                    (
                        Query(
                            'max by (province) (pricelink_oldest_hold_seconds{province=~"$province"})', "{{province}}"
                        ),
                    ),
                    width=12,
                    thresholds=((0, GREEN), (8 * 3_600, AMBER), (86_400, RED)),
                ),
            ),
        ),
        (
            "Supply and settlement",
            (
                Panel(
                    "Shortfalls, by kind and band",
                    "Contracts whose orders are late or too few. Red supply: call the supplier; red purchase: the institution.",
                    "short",
                    (Query(_open("kind, band", ',kind=~"supply_shortfall|purchase_shortfall"'), "{{kind}} {{band}}"),),
                    draw="stacked",
                    width=8,
                ),
                Panel(
                    "Arrears, by band",
                    "Orders not paid in time. Yellow is past its due date, red long past: the scorecards name the institutions.",
                    "short",
                    (Query(_open("band", _ARREARS), "{{band}}"),),
                    draw="stacked",
                    width=8,
                ),
                Panel(
                    "Arrears, the ten provinces with most",
                    "Where payment is late. One that rises alone: ask its settlement centre whether payments are reported at all.",
                    "short",
                    (Query("topk(10, " + _open("province", _ARREARS) + ")", "{{province}}"),),
                    width=8,
                ),
            ),
        ),
    ),
)
