// The engine client over TLS: only the certificates it was given count, and a key goes to nobody
// whose certificate does not.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import https from 'node:https';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Driver } from './support/driver.js';
import { Sandbox } from './support/sandbox.js';

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
            response.end(JSON.stringify({ data: [{ id: 'theirs', max_model_len: 2048 }] }));
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
    assert.equal(status.model, 'theirs');
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
