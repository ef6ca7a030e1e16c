"""Instruments: a measured quantity each, beside the account."""
