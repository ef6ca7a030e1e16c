"""racing: treatments raced on an unchanged script; what runs in the script's process, and what starts it."""
