"""live: a training run watched as it is, at almost no cost.

Imports nothing: a script that is launched meets `arrival` before torch.
"""
