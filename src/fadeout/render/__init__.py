"""Rendering: views turn records into plain series and tables; terminal, charts and html draw views."""
