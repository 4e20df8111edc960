// The engine client over TLS: only the certificates it was given count, and a key goes to nobody
// whose certificate does not.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import https from 'node:https';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Authority } from './support/certificates.js';
import { Driver } from './support/driver.js';
import { program } from './support/modules.js';
import { Sandbox } from './support/sandbox.js';
import { Service } from './support/service.js';
import { makeTinyModel } from './support/tiny_model.js';

const sandbox = new Sandbox();
const file = (name) => path.join(sandbox.work, name);
const heard = [];
let server, endpoint;

before(async () => {
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
        '-nodes', '-days', '2', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost',
        '-keyout', file('key.pem'), '-out', file('cert.pem')], { stdio: 'ignore' });
    const options = { key: fs.readFileSync(file('key.pem')), cert: fs.readFileSync(file('cert.pem')) };
    server = https.createServer(options, (request, response) => {
        heard.push(request.headers.authorization);
        if (request.url === '/team/v1/models') {
            response.end(JSON.stringify({ data: [{ id: 'their-dbrx', max_model_len: 2048 }] }));
        } else if (request.url === '/team/v1/completions') {
            response.setHeader('content-type', 'text/event-stream');
            response.end('data: {"choices":[{"text":"hi","finish_reason":"stop"}]}\n\ndata: [DONE]\n\n');
        } else {
            response.writeHead(404).end();
        }
    });
    await new Promise((resolve) => server.listen(0, resolve));
    endpoint = `https://localhost:${server.address().port}/team/v1`;
});

after(() => {
    server.close();
    server.closeAllConnections();
    sandbox.close();
});

test('speaks TLS to a peer whose certificate it was given', async () => {
    const driver = new Driver(sandbox, { endpoint, ca: file('cert.pem'), key: 'the-key' });
    const status = await driver.until('degraded');
    assert.match(status.reason, /foreign engine: no \/v1\/dbrx there; 2048 tokens by \/v1\/models/);
    assert.equal(status.model, 'their-dbrx');
    const done = await driver.complete({ text: 'int main', max_tokens: 4 });
    assert.equal(done.code, 'ok', done.reason);
    assert.equal(driver.textOf(1), 'hi');
    assert.deepEqual(new Set(heard), new Set(['Bearer the-key']));
    await driver.close();
    assert.ok(!driver.stderr.includes('the-key'));
    assert.ok(!JSON.stringify(driver.events).includes('the-key'));
});

test('tells a peer without a good certificate nothing', async () => {
    heard.length = 0;
    const driver = new Driver(sandbox, { endpoint, key: 'the-key' });
    const status = await driver.until('off');
    assert.match(status.reason, /certificate/i);
    assert.equal((await driver.complete({ text: 'x', max_tokens: 4 })).code, 'network');
    assert.deepEqual(heard, []);
    await driver.close();
});

const doctor = (from, endpoint, env, ...args) => JSON.parse(spawnSync(program,
    ['doctor', '--json', '--endpoint', endpoint, ...args],
    { env: from.env({ DBRX_API_KEY: 'the-key', ...env }), encoding: 'utf8' }).stdout);

test('what a certificate lacks is said in words', async () => {
    const authority = new Authority(sandbox.work), other = new Authority(sandbox.work, 'another one');
    const table = [
        ['for-another', ['DNS:other.example'], 2, authority.file, /another host name/],
        ['expired', ['DNS:localhost'], -1, authority.file, /has expired/],
        ['good', ['DNS:localhost'], 2, other.file, /no trusted authority.*DBRX_CA_FILE/],
        ['good', ['DNS:localhost'], 2, undefined, /no trusted authority/],
        ['good', ['DNS:localhost'], 2, '/nonexistent/ca.pem', /CA file \/nonexistent\/ca\.pem/],
    ];
    for (const [label, names, days, ca, reason] of table) {
        const { cert, key } = authority.issue(label, names, days);
        heard.length = 0;
        const peer = https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) },
            (request, response) => { heard.push(request.url); response.end(); });
        await new Promise((resolve) => peer.listen(0, resolve));
        const driver = new Driver(sandbox, { endpoint: `https://localhost:${peer.address().port}`,
            key: 'the-key', ...(ca ? { ca } : {}) });
        const status = await driver.until('off');
        assert.match(status.reason, reason);
        assert.deepEqual(heard, []);
        await driver.close();
        peer.closeAllConnections();
        await new Promise((resolve) => peer.close(resolve));
    }
});

test('a real engine over TLS: with its authority and its key, and not without', async () => {
    const authority = new Authority(sandbox.work), { cert, key } = authority.issue('engine');
    const model = makeTinyModel(path.join(sandbox.work, 'tiny-dbrx'));
    const service = new Service(sandbox, ['--model', model, '--threads', '1', '--port', '0',
        '--tls-cert', cert, '--tls-key', key], { env: { DBRX_API_KEY: 'the-key' }, ca: authority.pem });
    await service.ready();
    const at = `https://localhost:${service.port}`;
    const driver = new Driver(sandbox, { endpoint: at, ca: authority.file, key: 'the-key' });
    await driver.until('ready');
    const done = await driver.complete({ text: 'int main', max_tokens: 4 });
    assert.equal(done.code, 'ok', done.reason);
    await driver.close();
    const wrong = new Driver(sandbox, { endpoint: at, ca: authority.file, key: 'another' });
    assert.match((await wrong.until('off')).reason, /refuses the key/);
    await wrong.close();
    const told = (env, ...args) => JSON.stringify(doctor(sandbox, at, env, ...args));
    assert.match(told({ DBRX_CA_FILE: authority.file }), /tiny-dbrx/);
    assert.match(told({ DBRX_CA_FILE: '/nonexistent' }, '--ca-file', authority.file), /tiny-dbrx/);
    assert.match(told({ SSL_CERT_FILE: '/nonexistent', https_proxy: 'http://127.0.0.1:1' }), /no trusted authority|CA file of the system/);
    assert.match(told({ DBRX_CA_FILE: authority.file, DBRX_API_KEY: 'x' }), /refuses the key/);
    service.signal('SIGTERM');
    assert.equal((await service.exited).code, 0);
});
