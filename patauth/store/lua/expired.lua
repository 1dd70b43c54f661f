-- Return the expired PATs of an owner that the next creation removes, the oldest first.
--   KEYS[1]  owner index by expiry
--   ARGV[2]  most expired PATs to keep     ARGV[3]  retention of expired PATs, ms     ARGV[4]  most entries to return
-- Returns {now ms, entry, …}
local too_many = redis.call('ZCOUNT', KEYS[1], '-inf', now) - ARGV[2]
local too_old = redis.call('ZCOUNT', KEYS[1], '-inf', now - ARGV[3])
local count = math.min(math.max(too_many, too_old), ARGV[4] + 0)
local answer = {now}
if count > 0 then
  local entries = redis.call('ZRANGE', KEYS[1], 0, count - 1)
  for i = 1, #entries do answer[i + 1] = entries[i] end
end
return answer
