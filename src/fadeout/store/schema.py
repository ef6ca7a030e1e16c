"""The schema file: the contract's JSON schema as it ships, made from the records.

python -m fadeout.store.schema       writes it anew after a record has gained a field
"""

import json
from pathlib import Path

from fadeout.store.contract import schema

FILE = Path(__file__).with_name("exam.schema.json")


def text() -> str:
    """The schema as it stands in the file."""
    return json.dumps(schema(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
