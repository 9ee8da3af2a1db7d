"""The same, imported relatively at the top of the file."""

from .shop import shop
from .shop_rows import rows

workload = shop("shop-relative-top", rows)
