"""The products of the demo market: names, codes of the right form, suppliers, price levels. All of it is made up.

Codes are ``C`` + class (2+2+2) + generic (3) + material (2) + feature (3) + enterprise (5) + serial (7), the first class
01 to 18; a few drugs have 23 characters. Suppliers have 18-character social credit codes with right check characters.
"""

import random
from dataclasses import dataclass
from typing import Final, NamedTuple

_CREDIT_ALPHABET: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_ORGANISATION_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ORGANISATION_WEIGHTS: Final = (3, 7, 9, 10, 5, 8, 4, 2)
_DRUG_SHARE: Final = 0.05


class Generic(NamedTuple):
    """A kind of product: its class, name, device class (0: a drug), price range in yuan, and pieces a box."""

    level_1: int
    category: str
    name: str
    device_class: int
    low_yuan: float
    high_yuan: float
    pack_sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """One 27-digit (or drug) code. ``pack_size``: pieces in its box, 1 where it is sold by the piece alone."""

    code: str
    name: str
    category: str
    device_class: int
    supplier: str
    base_e4: int
    pack_size: int
    special_drug: bool


GENERICS: Final = (
    Generic(1, "非血管介入治疗类材料", "镍钛合金气道支架", 3, 6_000, 15_000, (1,)),
    Generic(1, "非血管介入治疗类材料", "胆道支架及输送系统", 3, 2_600, 9_000, (1,)),
    Generic(1, "非血管介入治疗类材料", "一次性使用输尿管导引鞘", 2, 300, 1_600, (1, 5)),
    Generic(2, "血管介入治疗类材料", "冠状动脉药物洗脱支架系统", 3, 2_200, 9_800, (1,)),
    Generic(2, "血管介入治疗类材料", "冠状动脉球囊扩张导管", 3, 350, 5_200, (1, 5)),
    Generic(2, "血管介入治疗类材料", "神经介入微导管", 3, 3_000, 12_000, (1,)),
    Generic(2, "血管介入治疗类材料", "导引导丝", 3, 400, 2_400, (1, 5, 10)),
    Generic(3, "骨科材料", "陶瓷髋关节假体", 3, 6_000, 28_000, (1,)),
    Generic(3, "骨科材料", "膝关节胫骨平台", 3, 4_000, 16_000, (1,)),
    Generic(3, "骨科材料", "锁定接骨板", 3, 800, 6_500, (1,)),
    Generic(3, "骨科材料", "椎弓根螺钉", 3, 400, 2_600, (1, 4)),
    Generic(4, "神经外科材料", "颅骨修补钛网", 3, 2_400, 14_000, (1,)),
    Generic(4, "神经外科材料", "脑室腹腔分流管", 3, 3_500, 9_000, (1,)),
    Generic(5, "心脏外科类材料", "机械人工心脏瓣膜", 3, 9_000, 26_000, (1,)),
    Generic(5, "心脏外科类材料", "人工血管", 3, 5_000, 19_000, (1,)),
    Generic(6, "人工器官组织及配套材料", "人工耳蜗植入体", 3, 48_000, 180_000, (1,)),
    Generic(7, "口腔材料", "种植体", 3, 600, 4_800, (1,)),
    Generic(7, "口腔材料", "光固化复合树脂", 2, 60, 420, (1, 4)),
    Generic(8, "眼科材料", "人工晶状体", 3, 700, 11_000, (1,)),
    Generic(9, "体外循环材料", "体外循环管路", 3, 900, 3_800, (1, 4)),
    Generic(9, "体外循环材料", "膜式氧合器", 3, 2_600, 8_500, (1,)),
    Generic(10, "血液净化材料", "空心纤维血液透析器", 3, 60, 380, (1, 12, 24)),
    Generic(10, "血液净化材料", "血液灌流器", 3, 420, 1_300, (1, 6)),
    Generic(11, "吻合器及附件", "一次性腔镜用切割吻合器", 3, 1_500, 5_800, (1, 3)),
    Generic(11, "吻合器及附件", "切割吻合器钉仓", 3, 350, 1_500, (6, 12)),
    Generic(12, "修补材料", "疝修补补片", 3, 700, 6_200, (1, 3)),
    Generic(13, "止血防粘连材料", "可吸收止血纱布", 3, 120, 900, (1, 10)),
    Generic(14, "注射穿刺类材料", "静脉留置针", 3, 4, 38, (50, 100)),
    Generic(14, "注射穿刺类材料", "一次性使用无菌注射器", 2, 0.3, 2.4, (100, 200)),
    Generic(14, "注射穿刺类材料", "中心静脉导管包", 3, 90, 620, (1, 10)),
    Generic(15, "功能性敷料", "泡沫敷料", 2, 18, 160, (10, 20)),
    Generic(16, "基础卫生材料", "医用外科口罩", 2, 0.2, 1.2, (10, 50)),
    Generic(17, "内窥镜诊疗材料", "一次性使用活检钳", 2, 40, 260, (1, 10, 20)),
    Generic(18, "中医类材料", "一次性使用无菌针灸针", 2, 0.1, 0.8, (100, 500)),
)
"""Names and ranges are ours; so are the class names, of which the real catalogue's are the model."""

_DRUGS: Final = (
    Generic(0, "抗肿瘤药及免疫调节剂", "甲磺酸奥希替尼片", 0, 90, 260, (10, 30)),
    Generic(0, "抗肿瘤药及免疫调节剂", "注射用曲妥珠单抗", 0, 900, 5_400, (1,)),
    Generic(0, "心血管系统", "阿托伐他汀钙片", 0, 0.4, 6, (7, 14, 28)),
)
_MATERIALS: Final = ("I型", "II型", "标准型", "加长型", "儿童型", "带涂层", "可调弯", "亲水")
_MAKERS: Final = (
    "苏州", "上海", "深圳", "北京", "天津", "山东", "杭州", "常州", "武汉", "成都", "广州", "厦门", "大连", "重庆", "南京", "宁波",
)  # fmt: skip


def credit_code(rng: random.Random) -> str:
    """Returns an 18-character unified social credit code whose two check characters are right."""
    district = rng.choice(("320500", "310115", "440305", "110108", "370100", "330100", "510100", "420100"))
    body = "".join(rng.choice("0123456789ABCDEFGHJKLMNPQRTUWXY") for _ in range(8))
    total = sum(_ORGANISATION_ALPHABET.index(c) * w for c, w in zip(body, _ORGANISATION_WEIGHTS, strict=True))
    organisation = body + "0123456789X0"[(11 - total % 11) % 11]
    first = "91" + district + organisation
    total = sum(_CREDIT_ALPHABET.index(c) * pow(3, index, 31) for index, c in enumerate(first))
    return first + _CREDIT_ALPHABET[(31 - total % 31) % 31]


class Catalogue:
    """Makes products, one after the other, all from one seed; codes never repeat."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"catalogue {seed}")
        self._suppliers = [credit_code(self._rng) for _ in range(160)]
        self._serial = self._rng.randrange(1_000_000)

    def product(self) -> Product:
        """Returns the next product."""
        rng = self._rng
        self._serial += 1
        maker = rng.randrange(len(self._suppliers))
        if rng.random() < _DRUG_SHARE:
            generic = rng.choice(_DRUGS)
            code = f"XL{rng.randrange(1, 99):02}BBA{rng.randrange(1000):03}A001{self._serial % 10_000:04}{maker + 1_000:05}"
        else:
            generic = rng.choice(GENERICS)
            classes = f"{generic.level_1:02}{rng.randrange(1, 20):02}{rng.randrange(1, 20):02}"
            features = f"{rng.randrange(1, 200):03}{rng.randrange(1, 12):02}{rng.randrange(1, 400):03}"
            code = f"C{classes}{features}{maker + 1_000:05}{self._serial:07}"
        spread = generic.high_yuan / generic.low_yuan
        yuan = generic.low_yuan * spread ** rng.random()
        name = f"{_MAKERS[maker % len(_MAKERS)]}{maker:03} {generic.name} {rng.choice(_MATERIALS)}"
        return Product(
            code=code,
            name=name,
            category=generic.category,
            device_class=generic.device_class,
            supplier=self._suppliers[maker],
            base_e4=round_price(int(yuan * 10_000)),
            pack_size=rng.choice(generic.pack_sizes),
            special_drug=generic.device_class == 0 and rng.random() < 0.5,
        )


def round_price(price_e4: int) -> int:
    """Returns a price as a platform would show it: whole cents, or a tenth of one below 10 yuan."""
    step = 100 if price_e4 >= 100_000 else 10
    return max(price_e4 // step * step, step)
