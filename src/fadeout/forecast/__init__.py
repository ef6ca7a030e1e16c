"""The forecast: mean-field theory on the ledger's own operations, beside the measurement.

Forward, the mean square of every activation is followed from the data to the loss; backward, the
squared norm of the gradient from the last weights to the first.  An operation theory can't speak
about makes everything that depends on it unknown: it is marked, never guessed.
"""

from fadeout.forecast.prediction import predict, predict_from

__all__ = ["predict", "predict_from"]
