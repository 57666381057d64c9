"""Creates the partitions of coming months, and drops the partitions of old ones."""
