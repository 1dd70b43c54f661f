-- Replace the secret slot that was verified by one with a new digest, and change nothing else: a PAT that was
-- deleted, rotated or changed since stays as it is.
--   KEYS[1]  PAT record
--   ARGV[2]  the slot as verified, 77 bytes     ARGV[3]  the slot to write     ARGV[4]  the record's new version
-- Returns {1 written | 0 not written}
local pat = redis.call('GET', KEYS[1])
if not pat or byte(pat, 1) ~= SCHEMA then return {0} end
for at = SLOT, SLOT + SLOT_SIZE * (byte(pat, SLOTS) - 49), SLOT_SIZE do
  if sub(pat, at, at + SLOT_SIZE - 1) == ARGV[2] then
    redis.call('SETRANGE', KEYS[1], at - 1, ARGV[3]) -- keeps the TTL
    redis.call('SETRANGE', KEYS[1], VERSION - 1, ARGV[4])
    return {1}
  end
end
return {0}
