"""For how long events are kept: the partitions of coming months are made, those of old ones dropped."""
