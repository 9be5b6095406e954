"""Values as numbers: Arrow columns to tensors and back, decimals, what a type holds."""
