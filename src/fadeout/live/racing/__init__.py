"""racing: a race of treatments on an unchanged training script; what runs in the script's process and what starts it."""
