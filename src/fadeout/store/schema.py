"""The schema files: the contract's JSON schemas as they ship, made from the records.

python -m fadeout.store.schema       writes it anew after a record has gained a field
"""

import json
from pathlib import Path

from fadeout.records import Exam, Trial
from fadeout.store.contract import schema

FILE = Path(__file__).with_name("exam.schema.json")
TRIAL_FILE = Path(__file__).with_name("trial.schema.json")


def text(kind: type[Exam] | type[Trial] = Exam) -> str:
    """The schema as it stands in the file."""
    return json.dumps(schema(kind), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
    TRIAL_FILE.write_text(text(Trial), encoding="utf-8")
