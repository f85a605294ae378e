// A device in Node.js, with nothing but the ws package.
//
//   node device.js ws://127.0.0.1:8080/connect/pump-1
//
// It publishes two readings, takes commands, answers calls, and prints what the gateway says.
// The command {"cut":true} makes it lose its connection before it has acknowledged the
// command; it comes back at the next line of its input.
import { createInterface } from 'node:readline'
import WebSocket from 'ws'

const url = process.argv[2]
const id = new URL(url).pathname.split('/').pop()
const calls = {
  sum: (numbers) => numbers.reduce((a, b) => a + b, 0),
  leave: () => { setImmediate(() => ws.close(1000)); return 'bye' },
}
const seen = new Set() // ids of messages: one of QoS 1 may come again
let ws

function connect() {
  ws = new WebSocket(url, 'longline.v1.json')
  ws.on('message', (text) => receive(JSON.parse(text)))
  ws.on('close', (code) => { if (code === 1000) process.exit() })
}

const send = (packet) => ws.send(JSON.stringify(packet))

function receive(packet) {
  console.log(JSON.stringify(packet))
  switch (packet.op) {
    case 'hello':
      if (!packet.resumed) start() // a session that was resumed has its subscriptions
      break
    case 'msg':
      command(packet)
      break
    case 'call':
      answer(packet)
  }
}

function start() {
  send({ op: 'sub', id: 1, filters: [`command/${id}/#`], qos: 1 })
  send({ op: 'pub', topic: `reading/${id}`, payload: { celsius: 20.5 } })
  send({ op: 'pub', topic: `reading/${id}`, payload: { celsius: 21 }, qos: 1, id: 2 })
}

function command({ id, payload }) {
  const first = !seen.has(id)
  seen.add(id)
  if (first && payload.cut) ws.terminate()
  else send({ op: 'ack', id })
}

function answer({ id, method, payload }) {
  if (calls[method]) send({ op: 'reply', id, payload: calls[method](payload) })
  else send({ op: 'reply', id, error: { code: 'unknown_method', reason: method } })
}

createInterface({ input: process.stdin }).on('line', connect)
connect()
