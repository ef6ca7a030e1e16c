"""call: what the user hands in - the forms of a batch, brought to one."""
