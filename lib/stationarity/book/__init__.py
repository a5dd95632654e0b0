"""What a page needs: parameters, tabs of runs, verdicts, recorded runs, costs."""

# Its import forgets an MPLBACKEND that nobody knows, before matplotlib is imported.
from .. import chapters  # noqa: F401
