"""What plots share, and the strip of crops in the README."""
