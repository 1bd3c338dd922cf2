"""The types of the products in what XLA compiled: the optimised module as it prints itself."""

from __future__ import annotations

import re
from collections import Counter

DEFINED = re.compile(r"%?([\w.\-]+) = \(?(\w+)\[")
PRODUCT = re.compile(
    r"= \(?(\w+)\[.*? (?:dot|convolution|custom-call)\((.*?)\)(?:, .*custom_call_target=\"([^\"]*)\")?"
)
MULTIPLIES = re.compile(r"gemm|matmul|conv|dot", re.IGNORECASE)
"""What the name of a library call says where it multiplies matrices: `__cublas$gemm`, `__onednn$matmul` …"""


def products_of(text: str) -> Counter[str]:
    """Returns how many products take operands of each type, in a module printed by `Compiled.as_text`.

    A product whose operands were widened before it counts as of the wider type: that is what was multiplied.
    """
    types = dict(DEFINED.findall(text))
    found: Counter[str] = Counter()
    for line in text.splitlines():
        product = PRODUCT.search(line)
        if product is None or (" custom-call(" in line and not MULTIPLIES.search(product[3] or "")):
            continue
        first = product[2].split(", %")[0].strip()
        written = re.match(r"(\w+)\[", first)
        found[str(written[1] if written else types.get(first.lstrip("%"), product[1]))] += 1
    return found
