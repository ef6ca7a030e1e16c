"""fadeout"""
