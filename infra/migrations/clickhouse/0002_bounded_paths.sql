-- Of a payload's paths, only so many have files of their own in a part that is made by merging; those that most rows
-- have come first. Nothing is rewritten: parts that have more keep them until they are merged.
ALTER TABLE ai_usage_events {on_cluster} MODIFY SETTING
    merge_max_dynamic_subcolumns_in_wide_part = {max_dynamic_paths},
    merge_max_dynamic_subcolumns_in_compact_part = {max_dynamic_paths}
