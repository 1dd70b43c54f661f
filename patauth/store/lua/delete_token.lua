-- Remove an access token. A DEL works out of memory too.
--   KEYS[1]  access token record
-- Returns {1 removed | 0 it was not there}
return {redis.call('DEL', KEYS[1])}
