-- nobody ever set it: when a key was last used stands in key_health
ALTER TABLE provider_key DROP COLUMN last_used_us;
