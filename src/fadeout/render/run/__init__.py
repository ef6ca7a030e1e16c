"""render.run: a watched run as a page: the exam of its last probe, and what happened over the steps."""
