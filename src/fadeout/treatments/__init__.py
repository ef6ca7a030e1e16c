"""Treatments: what brings a gradient back, a file each, and the table of all."""
