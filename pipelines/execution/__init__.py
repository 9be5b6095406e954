"""How the model is run: whole, split by depth, divided by width, or both; and on how many workers."""
