"""A simulated plant, a broker of its own, and the show that runs the real daemon against both."""
