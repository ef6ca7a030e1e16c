"""recurrent: the way back through time, and the horizons of gates."""
