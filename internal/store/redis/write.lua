-- Changes devices, each if the owner still has it at the epoch.
-- KEYS: of each device the hash, and the queue.
-- ARGV: owner; number of the write; then of each device: how many values follow; epoch; what else: 'drop' first removes all but the values, 'release'
-- the received identifiers, 'end' behind the changes ends the claim if no values are left; how many of the following are names of the hash to remove,
-- names of the queue to remove, names and values of the queue to set. What remains are names and values of the hash to set.
-- Returns of each device 0, or 1 if the claim has ended, or {epoch, owner} of the one who has it, or {what Redis says is wrong}.
local owner, number = ARGV[1], ARGV[2]

local function write(hash, queue, at, last)
	local f = redis.call('HMGET', hash, 'e', 'o', 'w')
	if f[2] ~= owner or f[1] ~= ARGV[at] then return {f[1] or '0', f[2] or ''} end
	if tonumber(f[3]) > tonumber(number) then return 0 end -- a later one was made: this one comes late, and was repeated
	local what = ARGV[at + 1]
	local drop = string.find(what, 'drop', 1, true)
	if drop then redis.call('DEL', queue) end
	if drop or string.find(what, 'release', 1, true) then
		for _, name in ipairs(redis.call('HKEYS', hash)) do
			local kind = string.sub(name, 1, 2)
			if kind == 'i/' or drop and (kind == 'r' or kind == 'f/' or kind == 'h/') then redis.call('HDEL', hash, name) end
		end
	end
	local place = at + 5
	local function change(command, key, length)
		if length > 0 then redis.call(command, key, unpack(ARGV, place, place + length - 1)) end
		place = place + length
	end
	change('HDEL', hash, tonumber(ARGV[at + 2]))
	change('HDEL', queue, tonumber(ARGV[at + 3]))
	change('HSET', queue, tonumber(ARGV[at + 4]))
	change('HSET', hash, last - place + 1)
	if string.find(what, 'end', 1, true) and redis.call('HLEN', hash) - redis.call('HEXISTS', hash, 'c') == 3 then
		redis.call('DEL', hash)
		return 1
	end
	return 0
end

local results = {}
local at = 3
for i = 1, #KEYS, 2 do
	local last = at + tonumber(ARGV[at])
	local made, result = pcall(write, KEYS[i], KEYS[i + 1], at + 1, last)
	if not made then result = {type(result) == 'table' and result.err or result} end
	results[#results + 1] = result
	at = last + 1
end
return results
