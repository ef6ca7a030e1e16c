"""The autograd graph of a loss: who made each operation, and what lies between the loss and the data."""
