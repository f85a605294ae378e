// An MQTT device in Node.js that calls a service, with the mqtt package, in MQTT 5 or 3.1.1.
//
//   node mqtt_call.js ws://127.0.0.1:8080/mqtt pump-1 5
import mqtt from 'mqtt'

const [url, id, version] = process.argv.slice(2)
const client = await mqtt.connectAsync(url, { clientId: id, protocolVersion: +version })
const answers = `device/${id}/service-reply`
const waiting = new Map() // calls that are not answered yet, by number
let last = 0

function call(service, method, payload) {
  const number = `${++last}`
  let topic = `device/${id}/service/${service}/${method}`
  let options = { qos: 1 }
  if (client.options.protocolVersion === 5) options.properties = { responseTopic: answers, correlationData: Buffer.from(number), contentType: 'application/json' }
  else topic += `/${number}`
  return new Promise((resolve, reject) => {
    waiting.set(number, { resolve, reject })
    client.publish(topic, JSON.stringify(payload), options)
  })
}

client.on('message', (topic, payload, { properties }) => {
  let [number, refused] = topic.slice(answers.length + 1).split('/')
  let text = `${payload}`
  if (client.options.protocolVersion === 5) {
    number = `${properties.correlationData}`
    refused = properties.userProperties?.error
    if (refused) text = `${refused}: ${text}`
  }
  const { resolve, reject } = waiting.get(number)
  waiting.delete(number)
  if (refused) reject(new Error(text))
  else resolve(JSON.parse(text))
})

await client.subscribeAsync([answers, `${answers}/#`])
console.log(JSON.stringify(await call('billing', 'authorize', { card: '4f2a' })))
await call('billing', 'authorize', { card: '0000' }).catch((error) => console.log(error.message))
await client.endAsync()
