// A device in Node.js that calls a service, with nothing but the ws package.
//
//   node call.js ws://127.0.0.1:8080/connect/pump-1
import WebSocket from 'ws'

const ws = new WebSocket(process.argv[2], 'longline.v1.json')
const waiting = new Map() // calls that are not answered yet, by id
let last = 0

// call resolves with the payload of the reply. It fails with the code of a refusal, or when the connection ends before the reply:
// then the service may have done it, or not.
function call(service, method, payload) {
  const id = ++last
  ws.send(JSON.stringify({ op: 'call', id, service, method, payload }))
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }))
}

ws.on('message', (text) => {
  const { op, id, payload, error } = JSON.parse(text)
  if (op !== 'reply' || !waiting.has(id)) return
  const { resolve, reject } = waiting.get(id)
  waiting.delete(id)
  if (error) reject(new Error(`${error.code}: ${error.reason}`))
  else resolve(payload)
})
ws.on('close', () => waiting.forEach(({ reject }) => reject(new Error('the answer is not known'))))

ws.on('open', async () => {
  console.log(JSON.stringify(await call('billing', 'authorize', { card: '4f2a' })))
  await call('billing', 'authorize', { card: '0000' }).catch((error) => console.log(error.message))
  ws.close(1000)
})
