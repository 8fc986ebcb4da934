"""How long it holds: endurance, and the table of promises."""
