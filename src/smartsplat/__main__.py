"""``python -m smartsplat`` is the command ``smartsplat``."""

from smartsplat.cli import main

main()
