-- Return records of one owner tag, and the clock's time to judge them by.
--   KEYS  PAT records, or a PAT record and an access token record
-- Returns {now ms, record or nil, …}
local answer = {now}
for i = 1, #KEYS do answer[i + 1] = redis.call('GET', KEYS[i]) end
return answer
