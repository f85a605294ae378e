package cluster

import "github.com/redis/rueidis"

// Numbers beyond 2^53 do not fit Lua's: lives and positions are Redis' clock in microseconds, which does until the year 2255. They are written with %.0f
// because Lua would round them to 14 digits.

// now is the beginning of scripts that need Redis' clock.
const now = `
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local function text(n) return string.format('%.0f', n) end
`

// join begins a life of a node: ARGV is its name, and a life that it must be above. The life before, if there is one, is dead from now on. It returns the life.
var join = rueidis.NewLuaScript(now + `
local before = redis.call('HGET', KEYS[1], ARGV[1])
local life = text(math.max((tonumber(before or 0) or 0) + 1, now, tonumber(ARGV[2]) + 1))
if before then redis.call('HSETNX', KEYS[4], ARGV[1] .. '/' .. before, text(now)) end
redis.call('HSET', KEYS[1], ARGV[1], life)
redis.call('HSET', KEYS[2], ARGV[1], text(now))
redis.call('HDEL', KEYS[3], ARGV[1])
return life
`)

// renew renews the lease of a life: ARGV is the node's name, the life, its report. It returns Redis' clock, then the lives, renewals and reports of all nodes, then the
// dead owners. A node of which there is a newer life gets that alone; one that others have taken for dead gets 'dead'. A Redis that has forgotten the node takes it in
// again.
var renew = rueidis.NewLuaScript(now + `
local life = redis.call('HGET', KEYS[1], ARGV[1])
if life and (tonumber(life) or 0) > tonumber(ARGV[2]) then return {'newer', life} end
local owner = ARGV[1] .. '/' .. ARGV[2]
if redis.call('HEXISTS', KEYS[4], owner) == 1 or redis.call('ZSCORE', KEYS[6], owner) then return {'dead'} end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], text(now))
redis.call('HSET', KEYS[3], ARGV[1], ARGV[3])
return {text(now), redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[3]), redis.call('HGETALL', KEYS[4])}
`)

// bury takes a life for dead whose lease has ended: ARGV is the node's name, the life, the lease in microseconds.
var bury = rueidis.NewLuaScript(now + `
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] and now - tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or 0) > tonumber(ARGV[3]) then
  redis.call('HSETNX', KEYS[4], ARGV[1] .. '/' .. ARGV[2], text(now))
end
return 1
`)

// leave ends a life whose devices and messages others take over at once: ARGV is the node's name and the life.
var leave = rueidis.NewLuaScript(now + `
redis.call('HSETNX', KEYS[4], ARGV[1] .. '/' .. ARGV[2], text(now))
return 1
`)

// adoptTurn makes one node the adopter of a dead owner, until its turn ends: ARGV is the dead owner, the adopter, the length of a turn in microseconds. It returns 1 if
// it is the adopter's turn.
var adoptTurn = rueidis.NewLuaScript(now + `
if redis.call('HEXISTS', KEYS[4], ARGV[1]) == 0 then return 0 end
local has = redis.call('HGET', KEYS[5], ARGV[1])
if has then
  local who, till = has:match('^(%S+) (%d+)$')
  if who ~= ARGV[2] and tonumber(till) > now then return 0 end
end
redis.call('HSET', KEYS[5], ARGV[1], ARGV[2] .. ' ' .. text(now + tonumber(ARGV[3])))
return 1
`)

// adopted ends an adoption: ARGV is the dead owner, its node, its life. For a day the owner stays known as gone: it may only have been stopped, and wakes up.
var adopted = rueidis.NewLuaScript(now + `
redis.call('ZADD', KEYS[6], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[6], 0, now - 86400000000)
redis.call('HDEL', KEYS[4], ARGV[1])
redis.call('HDEL', KEYS[5], ARGV[1])
if redis.call('HGET', KEYS[1], ARGV[2]) == ARGV[3] then
  for i = 1, 3 do redis.call('HDEL', KEYS[i], ARGV[2]) end
end
return 1
`)

// logAdd is the beginning of scripts that write the log. An entry has the position before it, so that whoever follows the log sees a gap, and how many bytes were
// written until then, because a device can change its mind about large filters as often as it likes: a log with more than the bound loses its older half.
const logAdd = now + `
local function add(owner, above, bound, fields, size)
  local before = text(tonumber(redis.call('GET', KEYS[3]) or '0') or 0)
  local at = text(math.max(tonumber(before) + 1, now, tonumber(above) + 1))
  local written = redis.call('INCRBY', KEYS[5], size + 100)
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', '100000', at .. '-0', 'p', before, 'o', owner, 'n', text(written), unpack(fields))
  redis.call('SET', KEYS[3], at)
  local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  if written - (tonumber(first[2][6]) or 0) > tonumber(bound) then
    redis.call('XTRIM', KEYS[1], 'MAXLEN', math.ceil(redis.call('XLEN', KEYS[1]) / 2))
  end
  return at
end
`

// announce writes what a node wants and wants no more: ARGV is the owner, a position that the new one must be above, the bound of the log in bytes, the number of filters
// that it wants, these, and then those that it does not want. It returns the position, or 0 if the owner is gone for good.
var announce = rueidis.NewLuaScript(logAdd + `
if redis.call('ZSCORE', KEYS[4], ARGV[1]) then return '0' end
local fields, size = {}, 0
local wants = tonumber(ARGV[4])
for i = 5, #ARGV do
  local f = ARGV[i]
  if i < 5 + wants then
    redis.call('HSET', KEYS[2], ARGV[1] .. '\0' .. f, '1')
    fields[#fields + 1] = '+'
  else
    redis.call('HDEL', KEYS[2], ARGV[1] .. '\0' .. f)
    fields[#fields + 1] = '-'
  end
  fields[#fields + 1] = f
  size = size + #f + 10
end
return add(ARGV[1], ARGV[2], ARGV[3], fields, size)
`)

// forget says in the log that an owner is gone for good, and refuses what it announces later: ARGV is the owner, a position that the new one must be above, the bound of the
// log in bytes, and what is said ('!' nobody is to send to it any more, '.' its adoption is done). What it had announced is removed by cleanInterest.
var forget = rueidis.NewLuaScript(logAdd + `
redis.call('ZADD', KEYS[4], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[4], 0, now - 86400000000)
return add(ARGV[1], ARGV[2], ARGV[3], {ARGV[4], ''}, 0)
`)

// deleteEmpty deletes an inbox in which nothing is. It returns 1 if there is none any more.
var deleteEmpty = rueidis.NewLuaScript(`
if redis.call('EXISTS', KEYS[1]) == 1 and redis.call('XLEN', KEYS[1]) > 0 then return 0 end
redis.call('DEL', KEYS[1])
return 1
`)
