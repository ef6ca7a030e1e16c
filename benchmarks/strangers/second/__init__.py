"""The second set: other architectures, tasks and faults, by an author who saw neither the rules nor the first set."""

from benchmarks.strangers.second import choices, classic, fields, samplers, scans, tokens, transfer

FAMILIES = (choices, classic, fields, samplers, scans, tokens, transfer)
