"""`runner data`: the data stage alone, and a look at records as the engine will see them."""
