"""Labels and scores in, numbers out. Imports no trainer and no backend."""
