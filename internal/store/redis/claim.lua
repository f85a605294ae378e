-- Makes an owner that of a device.
-- KEYS: the device's hash, its queue.
-- ARGV: owner; the node's number; '*', or whose claim this may end, '' being nobody's; '' or at which epoch; '' or the epoch that the owner holds.
-- Returns {} if the owner has the device at that epoch; {epoch, owner} of another that has it; or {epoch, the one before, the owner before, fields
-- of the hash, fields of the queue if they are few}.
local f = redis.call('HMGET', KEYS[1], 'e', 'o')
local before, from = string.match(f[1] or '', '^%d+$') or '0', f[2] or ''
if from == ARGV[1] and before == ARGV[5] then return {} end
if ARGV[3] ~= '*' and from ~= ARGV[1] then
	local expected = from == ARGV[3] and (ARGV[4] == '' or ARGV[4] == before)
	if not expected and not (from == '' and ARGV[4] ~= '') then return {before, from} end
end
local time = redis.call('TIME')
local epoch = math.max(tonumber(before) + 1, time[1] * 1000000 + time[2])
epoch = string.format('%.0f', epoch + (ARGV[2] + 64 - epoch % 64) % 64)
if from ~= '' and from ~= ARGV[1] then
	local owners, n = from, 1
	for o in string.gmatch(redis.call('HGET', KEYS[1], 'c') or '', '%S+') do
		if n < 8 then owners = owners .. ' ' .. o end
		n = n + 1
	end
	redis.call('HSET', KEYS[1], 'c', owners) -- the owners before, newest first: what is left in the inbox of each is for this one
end
local fields = redis.call('HGETALL', KEYS[1])
redis.call('HSET', KEYS[1], 'e', epoch, 'o', ARGV[1], 'w', '0')
local messages = {}
if redis.call('HLEN', KEYS[2]) <= 32 then
	messages = redis.call('HGETALL', KEYS[2])
	local bytes = 0
	for i = 2, #messages, 2 do bytes = bytes + #messages[i] end
	if bytes > 65536 then messages = {} end
end
return {epoch, before, from, fields, messages}
