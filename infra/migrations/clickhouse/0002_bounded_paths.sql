-- Limits how many payload paths get their own files in merged parts; paths that most rows have come first. No part is
-- rewritten: existing parts keep their files until they are merged.
ALTER TABLE ai_usage_events {on_cluster} MODIFY SETTING
    merge_max_dynamic_subcolumns_in_wide_part = {max_dynamic_paths},
    merge_max_dynamic_subcolumns_in_compact_part = {max_dynamic_paths}
