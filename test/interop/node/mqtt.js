// An MQTT device in Node.js, with the mqtt package.
//
//   node mqtt.js sub ws://127.0.0.1:8080/mqtt '{"filter": "news/#", "qos": 1}'
//   echo hello | node mqtt.js pub ws://127.0.0.1:8080/mqtt '{"message": {"topic": "news/1", "qos": 1}}'
//
// It prints and reads what mosquitto_sub -F %j and mosquitto_pub -l do. "options" are those
// of the package's connect.
import { readFileSync } from 'node:fs'
import mqtt from 'mqtt'

const [command, url, text] = process.argv.slice(2)
const { filter, qos, message, options } = JSON.parse(text)
const client = mqtt.connect(url, { reconnectPeriod: 50, ...options })
client.on('error', (error) => console.error(error.message)) // it tries again

if (command === 'sub') subscribe()
else await publish()

function subscribe() {
  client.on('message', (topic, payload, packet) => {
    console.log(JSON.stringify({ topic, payload: `${payload}`, qos: packet.qos, retain: +packet.retain, properties: named(packet.properties) }))
  })
  client.subscribe(filter, { qos }, (error) => console.log(error ? `refused: ${error.message}` : 'Subscribed'))
  process.on('SIGTERM', () => client.end())
}

async function publish() {
  const { topic, qos, retain, properties } = message
  const options = { qos, retain: retain === 1, properties: client.options.protocolVersion === 5 ? renamed(properties) : undefined }
  const lines = readFileSync(0, 'utf8').split('\n')
  await Promise.all(lines.map((line) => client.publishAsync(topic, line, options)))
  await client.endAsync()
}

// named gives properties of the package the names that the specification has.
function named(p = {}) {
  return {
    'response-topic': p.responseTopic,
    'correlation-data': p.correlationData && `${p.correlationData}`,
    'content-type': p.contentType,
    'user-properties': p.userProperties,
  }
}

// renamed is the reverse of named, without what is empty.
function renamed(p) {
  const all = {
    responseTopic: p['response-topic'],
    correlationData: p['correlation-data'] && Buffer.from(p['correlation-data']),
    contentType: p['content-type'],
    userProperties: p['user-properties'],
  }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value))
}
