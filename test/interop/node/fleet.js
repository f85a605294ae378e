// Devices in Node.js for the test of a mixed fleet: a kind of ws, mqtt, or ocpp.
//
//     node fleet.js KIND URL ID
//
// A device calls services one after the other and counts up, until its input ends. It prints one JSON object per line:
//     {"n":1,"service":"csms","method":"count","answer":...}  or with "error": a call of its own has ended
//     {"called":1}   a backend has called it, with that number
//     {"stray":...}  an answer to nothing
import { once } from 'node:events';
import mqtt from 'mqtt';
import rpc from 'ocpp-rpc';
import WebSocket from 'ws';

const [kind, url, id] = process.argv.slice(2);
const print = (line) => console.log(JSON.stringify(line));
const called = (n) => { print({ called: n }); return { device: id, n }; };
const waiting = new Map(); // calls that are not answered yet, by number

function ended(number, refused, answer) {
  const call = waiting.get(number);
  if (!call) return print({ stray: [number, refused, answer] });
  waiting.delete(number);
  if (refused) call.reject(new Error(refused));
  else call.resolve(answer);
}

// Each returns {call, leave, methods}; call resolves with the answer of a service.
const kinds = {
  async ws() {
    const ws = new WebSocket(url, 'longline.v1.json');
    const send = (packet) => ws.send(JSON.stringify(packet));
    ws.on('message', (text) => {
      const p = JSON.parse(text);
      if (p.op === 'reply') ended(p.id, p.error?.code, p.payload);
      if (p.op === 'call') send({ op: 'reply', id: p.id, payload: called(p.payload.n) });
    });
    await once(ws, 'open');
    const call = (n, service, method) => new Promise((resolve, reject) => {
      waiting.set(n, { resolve, reject });
      send({ op: 'call', id: n, service, method, payload: { n } });
    });
    return { call, leave: () => { ws.close(1000); return once(ws, 'close'); } };
  },

  async mqtt() {
    const client = await mqtt.connectAsync(url, { clientId: id, protocolVersion: 5 });
    const answers = `device/${id}/answers`;
    client.on('message', (topic, payload, { properties }) => {
      const { correlationData, responseTopic, userProperties } = properties;
      if (topic === answers) return ended(+`${correlationData}`, userProperties?.error, userProperties?.error ? null : JSON.parse(payload));
      client.publish(responseTopic, JSON.stringify(called(JSON.parse(payload).n)), { qos: 1, properties: { correlationData, contentType: 'application/json' } });
    });
    await client.subscribeAsync([answers, `device/${id}/call/#`]);
    const call = (n, service, method) => new Promise((resolve, reject) => {
      waiting.set(n, { resolve, reject });
      const properties = { responseTopic: answers, correlationData: Buffer.from(`${n}`), contentType: 'application/json' };
      client.publish(`device/${id}/service/${service}/${method}`, JSON.stringify({ n }), { qos: 1, properties });
    });
    return { call, leave: () => client.endAsync() };
  },

  async ocpp() {
    const client = new rpc.RPCClient({ endpoint: url, identity: id, protocols: ['ocpp1.6'], strictMode: true, reconnect: false });
    client.handle('DataTransfer', ({ params }) => ({ status: 'Accepted', data: JSON.stringify(called(+params.data)) }));
    await client.connect();
    const call = async (n, service, method) => JSON.parse((await client.call(method, { vendorId: 'fleet', data: `${n}` })).data);
    return { call, leave: () => client.close(), methods: [['csms', 'DataTransfer']] };
  },
};

const device = await kinds[kind]();
const methods = device.methods ?? [['csms', 'count'], ['billing', 'count'], ['csms', 'add'], ['billing', 'add']];
let leaving = false;
process.stdin.on('end', () => { leaving = true; }).resume();
for (let n = 1; !leaving; n++) {
  const [service, method] = methods[n % methods.length];
  try {
    print({ n, service, method, answer: await device.call(n, service, method) });
  } catch (e) {
    print({ n, service, method, error: e.message });
  }
  await new Promise((resolve) => setTimeout(resolve, 20));
}
await device.leave();
