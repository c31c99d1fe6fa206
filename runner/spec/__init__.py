"""The spec: its typed definition, how it is loaded, and the rules that hold between its fields."""
