-- Remove records that are kept of removed PATs, while their owner has too many of them.
--   KEYS[1]  index of the owner's removed PATs     KEYS[2…]  records of removed PATs
--   ARGV[2]  most to keep     ARGV[3…]  the entries of these PATs
-- Returns {for each 1 removed, or 0 there are no longer too many, or it was gone}
local answer, over = {}, redis.call('ZCARD', KEYS[1]) - ARGV[2]
for i = 2, #KEYS do
  answer[i - 1] = 0
  if over > 0 and redis.call('ZREM', KEYS[1], ARGV[i + 1]) == 1 then
    redis.call('DEL', KEYS[i])
    over = over - 1
    answer[i - 1] = 1
  end
end
return answer
