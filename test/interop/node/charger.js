// A charger in Node.js, with the package ocpp-rpc, which checks what it sends and gets by the schemas of OCPP.
//
//     node charger.js ws://127.0.0.1:8080/ocpp IDENTITY ocpp1.6
//
// It boots, authorizes a card, charges from a remote start to a remote stop, and leaves.
import { once } from 'node:events';
import rpc from 'ocpp-rpc';

const [endpoint, identity, version] = process.argv.slice(2);
const client = new rpc.RPCClient({ endpoint, identity, protocols: [version], strictMode: true, reconnect: false });
const now = () => new Date().toISOString();
const asks = (action) => new Promise((resolve) => {
  client.handle(action, ({ params }) => {
    setImmediate(resolve, params);
    return { status: 'Accepted' };
  });
});

// refused asks for something that the service does not know.
async function refused() {
  try {
    await client.call('DataTransfer', { vendorId: 'none' });
  } catch (e) {
    if (e.rpcErrorCode === 'NotImplemented') return;
    throw e;
  }
  throw new Error('DataTransfer was not refused');
}

async function charge16() {
  const [started, stopped] = [asks('RemoteStartTransaction'), asks('RemoteStopTransaction')];
  const boot = await client.call('BootNotification', { chargePointVendor: 'Longline', chargePointModel: 'Node' });
  if (boot.status !== 'Accepted') throw new Error(`boot: ${boot.status}`);
  await client.call('StatusNotification', { connectorId: 1, errorCode: 'NoError', status: 'Available' });
  await client.call('Authorize', { idTag: 'card-7' });
  const { idTag } = await started;
  const { transactionId } = await client.call('StartTransaction', { connectorId: 1, idTag, meterStart: 0, timestamp: now() });
  await client.call('MeterValues', { connectorId: 1, transactionId, meterValue: [{ timestamp: now(), sampledValue: [{ value: '18.25' }] }] });
  await refused();
  if ((await stopped).transactionId !== transactionId) throw new Error('another transaction is stopped');
  await client.call('StopTransaction', { transactionId, idTag, meterStop: 18250, timestamp: now() });
}

async function charge201() {
  const [started, stopped] = [asks('RequestStartTransaction'), asks('RequestStopTransaction')];
  const idToken = { idToken: 'card-7', type: 'ISO14443' };
  const transactionId = 'tx-7';
  let seqNo = 0;
  const event = (eventType, triggerReason, more) => client.call('TransactionEvent', {
    eventType, triggerReason, timestamp: now(), seqNo: seqNo++, transactionInfo: { transactionId }, ...more,
  });
  const boot = await client.call('BootNotification', { reason: 'PowerUp', chargingStation: { vendorName: 'Longline', model: 'Node' } });
  if (boot.status !== 'Accepted') throw new Error(`boot: ${boot.status}`);
  await client.call('StatusNotification', { evseId: 1, connectorId: 1, connectorStatus: 'Available', timestamp: now() });
  await client.call('Authorize', { idToken });
  await started;
  await event('Started', 'RemoteStart', { idToken });
  await event('Updated', 'MeterValuePeriodic', { meterValue: [{ timestamp: now(), sampledValue: [{ value: 18.25 }] }] });
  await client.call('MeterValues', { evseId: 1, meterValue: [{ timestamp: now(), sampledValue: [{ value: 18.25 }] }] });
  await refused();
  if ((await stopped).transactionId !== transactionId) throw new Error('another transaction is stopped');
  await event('Ended', 'RemoteStop', {});
}

await client.connect();
await (version === 'ocpp1.6' ? charge16() : charge201());
const closed = once(client, 'close');
await client.close();
await closed;
