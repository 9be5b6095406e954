"""Parts of the balance solver: numbers in, numbers out. Imports numpy and the standard library only."""
