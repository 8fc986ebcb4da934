"""What shows a file to people who have no decoder: the viewer's page, and an image server."""
