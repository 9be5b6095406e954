"""Rows of databases, through ADBC: read in ranges of one snapshot, written by bulk and seen by one transaction."""
