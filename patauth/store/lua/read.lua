-- Return records of one owner tag, and the clock's time to judge them by.
--   KEYS  PAT records, or a PAT record and an access token record
-- Returns {now ms, record or nil, …}
-- GETEX without options changes nothing, but counts as a write: a replica refuses it, and so does a primary that has
-- lost its replicas or its cluster. Such a server does not know what has ended elsewhere.
local answer = {now}
for i = 1, #KEYS do answer[i + 1] = redis.call('GETEX', KEYS[i]) end
return answer
