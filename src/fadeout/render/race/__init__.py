"""race: what a person sees of a trial: the display while it runs, the table, the page with learning curves."""
