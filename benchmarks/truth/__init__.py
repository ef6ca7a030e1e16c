"""Ground truth for a scoreboard of diagnosis: programs that learn, programs that can't, judged by training alone."""
