"""course: training steps on a copy, and what is seen on the way."""
