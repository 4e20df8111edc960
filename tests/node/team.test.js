// The engine for a team: a TCP port with TLS and access keys, whom it lets in and whom it cuts off.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import tls from 'node:tls';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Authority } from './support/certificates.js';
import { program } from './support/modules.js';
import { Sandbox } from './support/sandbox.js';
import { eventually, Service } from './support/service.js';
import { makeTinyModel, tiny } from './support/tiny_model.js';

const GREEDY = { temperature: 0, ignore_eos: true };
const SHORT = { ...GREEDY, prompt: [5, 6, 7], max_tokens: 3 };
const LONG = { ...GREEDY, prompt: [5, 6, 7], max_tokens: tiny.maxModelLen };
let models, model, authority, identity;

before(() => {
    models = new Sandbox();
    model = makeTinyModel(path.join(models.work, 'tiny-dbrx'));
    authority = new Authority(models.work);
    identity = authority.issue('engine', ['DNS:localhost', 'IP:127.0.0.1', 'DNS:engine.example']);
});
after(() => models.close());

/** `dbrx-ls key ...`: its standard output without the newline. */
function key(file, ...args) {
    return execFileSync(program, ['key', ...args, '--keys', file],
        { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trimEnd();
}

/** Runs `body` with a service on a TCP port and leaves nothing behind. */
async function withTeam(args, body, { env = {}, secure = true } = {}) {
    const sandbox = new Sandbox();
    try {
        const keys = path.join(sandbox.work, 'keys');
        const all = ['--model', model, '--threads', '1', '--port', '0', '--keys', keys, ...args];
        if (secure) all.push('--tls-cert', identity.cert, '--tls-key', identity.key);
        const service = new Service(sandbox, all,
            { env: { DBRX_LOG: 'info', ...env }, ca: secure ? authority.pem : undefined });
        await service.ready();
        return await body(service, keys, sandbox);
    } finally {
        sandbox.close();
    }
}

describe('TLS', () => {
    const handshake = (service, options) => new Promise((resolve, reject) => {
        const socket = tls.connect({ ...service.target(), ...options }, () => resolve(socket));
        socket.on('error', reject);
    });

    test('1.2 and 1.3, nothing older, nothing in the clear', () => withTeam([], async (service) => {
        for (const version of ['TLSv1.2', 'TLSv1.3']) {
            const socket = await handshake(service, { minVersion: version, maxVersion: version });
            assert.equal(socket.getProtocol(), version);
            socket.destroy();
        }
        const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' };
        await assert.rejects(handshake(service, old), /disconnected|reset|protocol version/i);
        const plain = net.connect(service.port, '127.0.0.1');
        plain.on('error', () => {});
        plain.write('GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n');
        let said = '';
        plain.on('data', (data) => { said += data.toString('latin1'); });
        await new Promise((resolve) => { plain.on('close', resolve); });
        assert.doesNotMatch(said, /HTTP/);
        assert.equal((await service.get('/health')).status, 200);
    }));

    test('Host: the names of the certificate, loopback, and those allowed', () =>
        withTeam(['--allowed-host', 'gpu.lan, gpu'], async (service) => {
            const ask = async (host) => (await service.get('/health', { headers: { host } })).status;
            for (const host of ['engine.example:8443', 'Engine.Example', 'localhost', 'gpu.lan', 'gpu:1'])
                assert.equal(await ask(host), 200, host);
            for (const host of ['evil.example', 'gpu.la', 'lan', 'x.engine.example', ','])
                assert.equal(await ask(host), 403, host);
        }));

    test('a renewed certificate is taken, a broken one is not', () => withTeam([], async (service, keys) => {
        const secret = key(keys, 'add', 'alice');
        const own = authority.issue('renewed');
        const subject = async () => {
            const socket = await handshake(service, {});
            const { CN } = socket.getPeerCertificate().subject;
            socket.destroy();
            return CN;
        };
        const put = (from, to) => {
            fs.copyFileSync(from, `${to}.new`);
            fs.renameSync(`${to}.new`, to);
        };
        const saved = { cert: fs.readFileSync(identity.cert), key: fs.readFileSync(identity.key) };
        try {
            assert.equal(await subject(), 'engine');
            const lease = await service.lease({ key: secret });
            put(own.cert, identity.cert); // the key of another: not taken
            await eventually('said', () => /is not the key of the certificate/.test(service.stderr));
            assert.equal(await subject(), 'engine');
            put(own.key, identity.key);
            await eventually('renewed', async () => await subject() === 'renewed');
            fs.writeFileSync(identity.cert, 'no certificate');
            await eventually('said', () => /no certificate chain/.test(service.stderr));
            assert.equal(await subject(), 'renewed');
            assert.equal(await Promise.race([lease.done, sleep(50, 'open')]), 'open');
            lease.close();
        } finally {
            fs.writeFileSync(identity.cert, saved.cert);
            fs.writeFileSync(identity.key, saved.key);
        }
    }));

    test('a dropped connection stops the work', () => withTeam([], async (service, keys) => {
        const secret = key(keys, 'add', 'alice');
        const lease = await service.lease({ key: secret });
        for (const how of ['end', 'destroy']) {
            const socket = await handshake(service, {});
            socket.on('error', () => {});
            socket.resume();
            const body = JSON.stringify({ ...LONG, n: 4 });
            socket.write('POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n' +
                `Authorization: Bearer ${secret}\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
            await eventually('running', () => lease.last?.running === 4);
            socket[how]();
            await eventually('stopped', () => lease.last.running === 0 && lease.last.queue === 0, 2000);
        }
        lease.close();
    }));

    const refuse = (cert, secret, extra = []) => {
        const sandbox = new Sandbox();
        try {
            const args = ['--port', '0', '--tls-cert', cert, ...(secret ? ['--tls-key', secret] : []), ...extra];
            return spawnSync(program, ['serve', ...args],
                { env: sandbox.env({ DBRX_API_KEY: 'k' }), encoding: 'utf8', timeout: 20000 });
        } finally {
            sandbox.close();
        }
    };

    test('what is wrong with its files is said at the start', () => {
        const other = authority.issue('other'), old = authority.issue('old', ['DNS:localhost'], -1);
        const noKey = path.join(models.work, 'no-key');
        fs.copyFileSync(identity.cert, noKey);
        fs.chmodSync(noKey, 0o600);
        fs.chmodSync(other.key, 0o644);
        const table = [
            [identity.cert, null, 2, /--tls-cert and --tls-key/],
            [identity.cert, '/nonexistent', 1, /\/nonexistent: No such file/],
            ['/nonexistent', identity.key, 1, /\/nonexistent: No such file/],
            [identity.key, identity.key, 1, /no certificate chain in PEM/],
            [identity.cert, noKey, 1, /no private key in PEM/],
            [identity.cert, old.key, 1, /not the key of the certificate/],
            [old.cert, old.key, 1, /has expired/],
            [other.cert, other.key, 1, /0644.*private key/],
        ];
        for (const [cert, secret, code, message] of table) {
            const done = refuse(cert, secret);
            assert.equal(done.status, code, done.stderr);
            assert.match(done.stderr, message);
            assert.equal(done.stderr.trimEnd().split('\n').length, 1);
        }
    });

    test('beyond loopback only with it', () => withTeam(['--host', '0.0.0.0'], async (service) => {
        assert.equal((await service.get('/ready')).status, 200);
        assert.match(service.stderr, /listening on https:\/\/0\.0\.0\.0:\d+/);
    }));
});

describe('access keys', () => {
    test('given and taken while it runs', () => withTeam([], async (service, keys) => {
        assert.match(service.stderr, /no key yet/);
        const nobody = await service.complete(SHORT, { key: 'dbrx-guess' });
        assert.equal(nobody.status, 401);
        assert.equal(nobody.headers['www-authenticate'], 'Bearer');
        const alice = key(keys, 'add', 'alice'), bob = key(keys, 'add', 'bob');
        assert.match(alice, /^dbrx-[\w-]{43}$/);
        assert.equal(fs.statSync(keys).mode & 0o777, 0o600);
        assert.match(key(keys, 'list'), /^alice +user +20\S+Z\nbob +user +20\S+Z$/);
        assert.equal((await service.complete(SHORT, { key: alice })).status, 200);
        const streams = {};
        for (const [name, secret] of Object.entries({ alice, bob })) {
            streams[name] = await service.stream('POST', '/v1/completions', { ...LONG, stream: true },
                { key: secret });
            streams[`${name}'s lease`] = await service.lease({ key: secret });
        }
        await eventually('text', () => Object.values(streams).every((s) => s.events.length));
        key(keys, 'revoke', 'alice');
        const revoked = Date.now();
        await Promise.all([streams.alice.done, streams["alice's lease"].done]);
        assert.ok(Date.now() - revoked < 10000); // ten times what is promised
        assert.ok(!streams.alice.events.includes('[DONE]'));
        assert.equal((await service.complete(SHORT, { key: alice })).status, 401);
        assert.equal(await streams.bob.done, 'end');
        assert.equal(streams.bob.events.at(-1), '[DONE]');
        assert.equal((await service.complete(SHORT, { key: bob })).status, 200);
        streams["bob's lease"].close();
        assert.match(service.stderr, /http: alice POST \/v1\/completions 200/);
        for (const secret of [alice, bob, alice.slice(5), 'dbrx-guess'])
            assert.ok(!service.stderr.includes(secret));
    }));

    test('each has a cache of its own', () => withTeam([], async (service, keys) => {
        const prompt = Array.from({ length: 200 }, (_, i) => 300 + i);
        const cached = async (secret) => (await service.complete({ ...SHORT, prompt }, { key: secret }))
            .json.usage.prompt_tokens_details.cached_tokens;
        const alice = key(keys, 'add', 'alice'), bob = key(keys, 'add', 'bob');
        assert.equal(await cached(alice), 0);
        assert.ok(await cached(alice) >= 192);
        assert.equal(await cached(bob), 0);
        key(keys, 'revoke', 'alice');
        assert.equal(await cached(key(keys, 'add', 'alice')), 0, 'a name again is not the key again');
    }));

    test('a file with a fault lets nobody in; without --keys the usual place is looked at', async () => {
        const sandbox = new Sandbox();
        const run = (extra, env) => spawnSync(program, ['serve', '--port', '0', ...extra],
            { env: sandbox.env(env), encoding: 'utf8', timeout: 20000 });
        try {
            const usual = path.join(sandbox.config, 'dbrx-ls/keys');
            fs.mkdirSync(path.dirname(usual));
            fs.writeFileSync(usual, 'alice user\n', { mode: 0o600 });
            for (const env of [{}, { DBRX_API_KEY: 'x' }]) {
                const done = run([], env);
                assert.equal(done.status, 1);
                assert.match(done.stderr, /dbrx-ls\/keys: line 1/);
            }
            const list = spawnSync(program, ['key', 'list'], { env: sandbox.env(), encoding: 'utf8' });
            assert.equal(list.status, 1);
            assert.match(list.stderr, /^dbrx-ls key: .*keys: line 1/);
        } finally {
            sandbox.close();
        }
    });

    test('the first key of a user who has no directory for settings yet', () => {
        const sandbox = new Sandbox();
        const run = (...args) => spawnSync(program, ['key', ...args], { env: sandbox.env(), encoding: 'utf8' });
        const directory = path.join(sandbox.config, 'dbrx-ls');
        try {
            assert.deepEqual([run('list').status, fs.existsSync(directory)], [0, false]);
            const added = run('add', 'alice');
            assert.equal(added.status, 0, added.stderr);
            assert.match(added.stdout, /^dbrx-\S{40,}\n$/);
            assert.equal(fs.statSync(directory).mode & 0o777, 0o700);
            assert.match(run('list').stdout, /^alice +user /);
        } finally {
            sandbox.close();
        }
    });

    const wrong = [[[], /expected add, list or revoke/], [['drop', 'x'], /"drop"/], [['add'], /one NAME/],
        [['add', 'a', 'b'], /one NAME/], [['list', 'a'], /no name/], [['add', '../x'], /NAME/],
        [['revoke', 'x'], /no key of the name x/], [['list', '--admin'], /--admin/]];
    for (const [args, message] of wrong)
        test(`key ${args.join(' ')}: wrong use`, () => {
            const file = path.join(models.work, 'no-such-file');
            const done = spawnSync(program, ['key', ...args, '--keys', file], { encoding: 'utf8' });
            assert.equal(done.status, 2);
            assert.match(done.stderr, message);
            assert.equal(done.stdout, '');
            assert.ok(!fs.existsSync(file));
        });
});

describe('who waits for what', () => {
    test('all of one\'s own, of others only that they are there; an administrator sees names', () =>
        withTeam([], async (service, keys) => {
            const alice = key(keys, 'add', 'alice'), bob = key(keys, 'add', 'bob');
            const chief = key(keys, 'add', 'chief', '--admin');
            const stream = await service.stream('POST', '/v1/completions',
                { ...LONG, n: 2, stream: true, dbrx: { session: 'window 1', priority: 'batch' } }, { key: alice });
            await eventually('text', () => stream.events.length > 2);
            const ask = async (secret) => (await service.get('/v1/dbrx/requests', { key: secret })).json.requests;
            const [own, other, seen] = [await ask(alice), await ask(bob), await ask(chief)];
            assert.equal(own.length, 2);
            assert.equal(own[0].id, stream.objects[0].id);
            assert.deepEqual(own.map((r) => [r.session, r.priority, r.key, r.yours, r.choice, r.prompt_tokens]),
                [0, 1].map((i) => ['window 1', 'batch', 'alice', true, i, 3]));
            assert.ok(own.every((r) => r.age_ms > 0 && r.output_tokens > 0));
            assert.deepEqual(own.map((r) => r.state), ['decode', 'decode']);
            assert.equal(other.length, 2);
            for (const row of other) assert.deepEqual(Object.keys(row).toSorted(), ['age_ms', 'priority', 'state']);
            assert.deepEqual(seen.map((r) => [r.key, r.yours]), [['alice', false], ['alice', false]]);
            stream.close();
            await eventually('gone', async () => (await ask(chief)).length === 0);
        }));

    test('a newer request of the session takes the place of the older; nobody else\'s', () =>
        withTeam([], async (service, keys) => {
            const alice = key(keys, 'add', 'alice'), bob = key(keys, 'add', 'bob');
            const start = async (dbrx, secret = alice) => {
                const stream = await service.stream('POST', '/v1/completions', { ...LONG, stream: true, dbrx },
                    { key: secret });
                await eventually('text', () => stream.events.length > 2);
                return stream;
            };
            const one = await start({ session: 'w' }), two = await start({ session: 'v' });
            const theirs = await start({ session: 'w' }, bob);
            const next = await service.complete({ ...SHORT, dbrx: { session: 'w', supersedes: 'session' } }, { key: alice });
            assert.equal(next.status, 200);
            await one.done;
            assert.equal(one.last.error.code, 'superseded');
            assert.ok(!one.events.includes('[DONE]'));
            const { id } = two.objects[0];
            await service.complete({ ...SHORT, dbrx: { supersedes: id } }, { key: bob });
            await service.complete({ ...SHORT, dbrx: { session: 'v', supersedes: 'cmpl-0' } }, { key: alice });
            assert.ok(!two.events.some((e) => e.includes('superseded')), 'another owner, another id');
            const again = await service.complete({ ...SHORT, dbrx: { supersedes: id } }, { key: alice });
            assert.equal(again.status, 200);
            await two.done;
            assert.equal(two.last.error.code, 'superseded');
            assert.ok(!theirs.events.some((e) => e.includes('superseded')));
            theirs.close();
            // Its pages stay: what it had computed is found again.
            const prompt = Array.from({ length: 300 }, (_, i) => 300 + i);
            const whole = service.complete({ ...LONG, prompt, dbrx: { session: 'p' } }, { key: alice });
            await eventually('decoding', async () => (await service.get('/v1/dbrx/requests', { key: alice }))
                .json.requests.some((r) => r.session === 'p' && r.output_tokens > 1));
            const warm = await service.complete({ ...SHORT, prompt, dbrx: { session: 'p', supersedes: 'session' } }, { key: alice });
            assert.equal((await whole).status, 409);
            assert.equal((await whole).json.error.code, 'superseded');
            assert.ok(warm.json.usage.prompt_tokens_details.cached_tokens >= 288);
            const { text } = await service.get('/metrics', { key: bob });
            assert.match(text, /^dbrx_superseded_total 3$/m);
        }));
});

describe('limits', () => {
    test('slow headers and bodies, strangers, wrong keys, too much of one key', () =>
        withTeam([], async (service, keys) => {
            const port = { host: '127.0.0.1', port: service.port };
            const alice = key(keys, 'add', 'alice');
            const open = (bytes) => new Promise((resolve, reject) => {
                const socket = net.connect(port, () => resolve(socket));
                socket.closed_ = new Promise((end) => { socket.on('close', end); });
                socket.on('error', reject).resume();
                socket.write(bytes);
                socket.timer = setInterval(() => socket.writable && socket.write('x'), 500);
                socket.closed_.then(() => clearInterval(socket.timer));
            });
            // Never silent, never done: ended after 10 s, which pass while the rest is tested.
            const slow = await open('GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ');
            const began = Date.now();

            const wrong = [];
            for (let i = 0; i < 24; i++) wrong.push(await service.complete(SHORT, { key: `dbrx-${i}` }));
            assert.equal(wrong[0].status, 401);
            assert.equal(wrong.at(-1).status, 429);
            assert.equal(wrong.at(-1).json.error.code, 'too_many_wrong_keys');
            assert.ok(wrong.at(-1).headers['retry-after']);
            assert.equal((await service.complete(SHORT, { key: 'single' })).status, 429, 'a guess cannot be right');
            assert.equal((await service.complete(SHORT, { key: alice })).status, 200);
            await eventually('patience', async () => (await service.complete(SHORT, { key: 'single' })).status === 200);

            const ask = () => service.stream('POST', '/v1/completions', { ...LONG, stream: true }, { key: alice });
            const streams = [];
            for (let i = 0; i < 3; i++) streams.push(...await Promise.all(Array.from({ length: 16 }, ask)));
            const more = await ask();
            assert.equal(more.status, 429);
            assert.ok(more.response.headers['retry-after']);
            assert.equal((await service.complete(SHORT, { key: 'single' })).status, 200, 'others go on');
            streams.forEach((s) => s.close());
            await eventually('room', async () => (await service.complete(SHORT, { key: alice })).status === 200);

            const strangers = [];
            for (let i = 0; i < 64; i++) strangers.push(await open('GET /health'));
            await eventually('refused', () => service.get('/health').then(() => false, () => true));
            strangers.forEach((s) => s.destroy());
            await eventually('room', () => service.get('/health').then(() => true, () => false));

            await slow.closed_;
            assert.ok(Date.now() - began >= 9000);
            const { text } = await service.get('/metrics', { key: alice });
            assert.match(text, /^dbrx_wrong_keys_total 2\d$/m);
            assert.match(text, /route="POST \/v1\/completions",code="429"\} [2-9]/);
        }, { secure: false, env: { DBRX_API_KEY: 'single' } }));
});

test('more than may wait: the caller\'s own share is full', async () => {
    const sandbox = new Sandbox();
    try {
        // Pages for a few whole contexts, so that few run; 128 of one owner may wait.
        const service = await new Service(sandbox, ['--model', model, '--threads', '1', '--kv-tokens', '20000']).ready();
        const lease = await service.lease();
        const open = (length) => Promise.all(Array.from({ length }, () =>
            service.stream('POST', '/v1/completions', { ...LONG, n: 4, stream: true })));
        const streams = await open(1);
        await eventually('running', () => lease.last.running === 4);
        streams.push(...await open(32));
        const refused = await open(3);
        for (const stream of refused) {
            assert.equal(stream.status, 429);
            assert.ok(stream.response.headers['retry-after']);
        }
        // Counted at step boundaries.
        await eventually('counted', async () => {
            const { text } = await service.get('/metrics');
            const by = (what) => Number(new RegExp(`^dbrx_requests_${what}\\S* (\\d+)$`, 'm').exec(text)[1]);
            return by('refused_total') === 3 && by('queued') > 120 && by('running') + by('queued') >= 132;
        });
        const rows = (await service.get('/v1/dbrx/requests')).json.requests;
        const waiting = rows.filter((r) => r.state === 'queued').map((r) => r.waits_for);
        assert.equal(rows.length, 132);
        assert.ok(waiting.length > 120);
        assert.deepEqual(waiting.toSorted(), [...Array(waiting.length - 1).fill('its turn'), 'pages']);
        streams.forEach((s) => s.close());
        await eventually('all gone', () => lease.last.queue === 0 && lease.last.running === 0);
        assert.equal((await service.complete(SHORT)).status, 200);
        lease.close();
    } finally {
        sandbox.close();
    }
});

test('/metrics as Prometheus reads it', () => withTeam([], async (service, keys) => {
    const alice = key(keys, 'add', 'alice');
    assert.equal((await service.get('/metrics')).status, 401);
    const lease = await service.lease({ key: alice });
    const prompt = Array.from({ length: 100 }, (_, i) => 300 + i);
    for (let i = 0; i < 2; i++) await service.complete({ ...SHORT, prompt }, { key: alice });
    await service.complete({ prompt, max_tokens: 0, dbrx: { priority: 'warm' } }, { key: alice });
    await service.complete({ prompt: [] }, { key: alice });
    await service.get('/nothing', { key: alice });
    const { headers, text } = await service.get('/metrics', { key: alice });
    assert.equal(headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
    const script = `import json, sys
from prometheus_client.parser import text_string_to_metric_families as parse
print(json.dumps([[f.name, f.type, f.documentation, [[s.name, s.labels, s.value] for s in f.samples]]
                  for f in parse(sys.stdin.read())]))`;
    const families = JSON.parse(execFileSync('/usr/bin/python3', ['-c', script], { input: text, encoding: 'utf8' }));
    const names = families.map(([name]) => name);
    assert.equal(new Set(names).size, names.length);
    for (const [name, type, help] of families) {
        assert.match(name, /^(dbrx|process)_[a-z_]+$/);
        assert.match(type, /^(counter|gauge|histogram)$/, name);
        assert.match(help, /^\S.*\.$/, name);
    }
    const value = (name, labels = {}) => families.flatMap((f) => f[3])
        .find((s) => s[0] === name && Object.entries(labels).every(([k, v]) => s[1][k] === v))?.[2];
    const route = 'POST /v1/completions', interactive = { priority: 'interactive' };
    assert.equal(value('dbrx_http_requests_total', { route, code: '200' }), 3);
    assert.equal(value('dbrx_http_requests_total', { route, code: '400' }), 1);
    assert.equal(value('dbrx_http_requests_total', { route: 'none', code: '404' }), 1);
    assert.equal(value('dbrx_requests_total'), 3);
    assert.equal(value('dbrx_output_tokens_total'), 6);
    assert.equal(value('dbrx_prompt_tokens_total'), 300);
    assert.ok(value('dbrx_prompt_tokens_cached_total') >= 96);
    assert.equal(value('dbrx_queue_seconds_count', interactive), 2);
    assert.equal(value('dbrx_time_to_first_token_seconds_count', interactive), 2);
    assert.equal(value('dbrx_queue_seconds_count', { priority: 'warm' }), 1);
    assert.equal(value('dbrx_time_to_first_token_seconds_count', { priority: 'warm' }), 0);
    assert.ok(value('dbrx_step_seconds_count') >= 3);
    assert.equal(value('dbrx_leases'), 1);
    assert.equal(value('dbrx_access_keys'), 1);
    assert.equal(value('dbrx_state', { state: 'ready' }), 1);
    assert.equal(value('dbrx_expert_rows_total', { expert: '4' }), undefined);
    assert.ok(value('dbrx_kv_pages', { tier: 'device' }) >= 256);
    assert.ok(value('process_resident_memory_bytes') > 1e6);
    assert.ok(Math.abs(value('process_start_time_seconds') - Date.now() / 1000) < 60);
    for (const [name, type, , samples] of families.filter((f) => f[1] === 'histogram')) {
        const series = new Map();
        for (const [sample, { le, ...labels }, count] of samples.filter((s) => s[0].endsWith('_bucket'))) {
            const id = JSON.stringify(labels);
            assert.ok(count >= (series.get(id) ?? 0), `${name} ${type} ${sample} ${le} grows`);
            series.set(id, count);
        }
    }
    lease.close();
}));
