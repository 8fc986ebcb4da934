"""How fast the viewer and the image server are: ``run`` measures in Chromium, ``tiles`` loads the server."""
