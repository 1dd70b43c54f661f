-- Return a piece of a tenant index: entries whose score is in a range, in the order of the index.
--   KEYS[1]  tenant index
--   ARGV[2]  lowest score     ARGV[3]  highest     ARGV[4]  '1': from the highest down
--   ARGV[5]  how many entries of the range to skip     ARGV[6]  how many to return
--   ARGV[7…]  entries neither to return nor to count
-- Returns {now ms, number of entries in the range, {id, score, …}}. It uses ranks, so skipped entries cost nothing.
local start = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[2])
local total = redis.call('ZCOUNT', KEYS[1], ARGV[2], ARGV[3])
local rank, range = 'ZRANK', 'ZRANGE'
if ARGV[4] == '1' then
  rank, range = 'ZREVRANK', 'ZREVRANGE'
  start = redis.call('ZCARD', KEYS[1]) - start - total
end
local stop = start + total - 1

local ranks, out = {}, {}
for i = 7, #ARGV do
  local at = redis.call(rank, KEYS[1], ARGV[i])
  if at and at >= start and at <= stop then
    ranks[#ranks + 1] = at
    out[ARGV[i]] = true
  end
end
table.sort(ranks)
local first = start + ARGV[5]
local last = first + ARGV[6] - 1
for i = 1, #ranks do
  if ranks[i] <= first then first = first + 1 end
  if ranks[i] <= last then last = last + 1 end
end
if last > stop then last = stop end

if last < first then return {now, total - #ranks, {}} end
local entries = redis.call(range, KEYS[1], first, last, 'WITHSCORES')
if #ranks == 0 then return {now, total, entries} end
local kept = {}
for i = 1, #entries, 2 do
  if not out[entries[i]] then
    kept[#kept + 1] = entries[i]
    kept[#kept + 1] = entries[i + 1]
  end
end
return {now, total - #ranks, kept}
