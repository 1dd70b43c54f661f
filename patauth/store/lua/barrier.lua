-- Write something for WAIT and WAITAOF to wait for. Delete first: that works even when the memory is full.
--   KEYS[1]  a key without content
-- Returns {1}
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], '', 'PX', 1000)
return {1}
