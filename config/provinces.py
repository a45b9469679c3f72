"""The 32 reporting units: the 31 of GB/T 2260 and the Xinjiang Production and Construction Corps (SPEC §2)."""

from typing import Final, NamedTuple


class Province(NamedTuple):
    """One reporting unit: its six-digit code, and its name in Chinese and in English."""

    code: str
    name_zh: str
    name_en: str


PROVINCES: Final = (
    Province("110000", "北京", "Beijing"),
    Province("120000", "天津", "Tianjin"),
    Province("130000", "河北", "Hebei"),
    Province("140000", "山西", "Shanxi"),
    Province("150000", "内蒙古", "Inner Mongolia"),
    Province("210000", "辽宁", "Liaoning"),
    Province("220000", "吉林", "Jilin"),
    Province("230000", "黑龙江", "Heilongjiang"),
    Province("310000", "上海", "Shanghai"),
    Province("320000", "江苏", "Jiangsu"),
    Province("330000", "浙江", "Zhejiang"),
    Province("340000", "安徽", "Anhui"),
    Province("350000", "福建", "Fujian"),
    Province("360000", "江西", "Jiangxi"),
    Province("370000", "山东", "Shandong"),
    Province("410000", "河南", "Henan"),
    Province("420000", "湖北", "Hubei"),
    Province("430000", "湖南", "Hunan"),
    Province("440000", "广东", "Guangdong"),
    Province("450000", "广西", "Guangxi"),
    Province("460000", "海南", "Hainan"),
    Province("500000", "重庆", "Chongqing"),
    Province("510000", "四川", "Sichuan"),
    Province("520000", "贵州", "Guizhou"),
    Province("530000", "云南", "Yunnan"),
    Province("540000", "西藏", "Tibet"),
    Province("610000", "陕西", "Shaanxi"),
    Province("620000", "甘肃", "Gansu"),
    Province("630000", "青海", "Qinghai"),
    Province("640000", "宁夏", "Ningxia"),
    Province("650000", "新疆", "Xinjiang"),
    Province("660000", "新疆兵团", "Xinjiang Corps"),
)
"""In order of code; everywhere else a province is its index here, 0 to 31."""

PROVINCE_CODES: Final = tuple(province.code for province in PROVINCES)
PROVINCE_INDEX: Final = {code: index for index, code in enumerate(PROVINCE_CODES)}
NO_PROVINCE: Final = 255
"""The index that stands for "none" in columns."""
