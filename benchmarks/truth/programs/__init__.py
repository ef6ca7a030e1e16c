"""Healthy programs, one kind a file; each function gives a Program that learns."""
