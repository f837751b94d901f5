"""`python -m anomalyd` is the same as the `anomalyd` command."""

from anomalyd.cli import main

main()
