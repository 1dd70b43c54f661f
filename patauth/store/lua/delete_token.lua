-- Delete an access token. DEL works even when the memory is full.
--   KEYS[1]  access token record
-- Returns {1 deleted | 0 it was not there}
return {redis.call('DEL', KEYS[1])}
