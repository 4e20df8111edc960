// `dbrx-ls serve` as a process, and plain HTTP to it: no client library between test and wire.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { program } from './modules.js';

/** Until `probe` gives something truthy, which is returned. The limit is a watchdog, no measure. */
export async function eventually(what, probe, limitMs = 20000) {
    const until = Date.now() + limitMs;
    for (;;) {
        const found = await probe();
        if (found) return found;
        if (Date.now() > until) throw new Error(`still waiting after ${limitMs} ms: ${what}`);
        await sleep(10);
    }
}

export class Service {
    /** Starts the program. `command` replaces program and arguments (a shell with a descriptor);
     *  `ca`: the certificates to trust, for one that speaks TLS. */
    constructor(sandbox, args, { env = {}, command, ca } = {}) {
        this.sandbox = sandbox;
        this.ca = ca;
        this.stderr = '';
        const [file, ...rest] = command ?? [program, 'serve', ...args];
        this.child = spawn(file, rest, { env: sandbox.env(env), stdio: ['ignore', 'pipe', 'pipe'] });
        this.child.stdout.resume();
        this.child.stderr.setEncoding('utf8').on('data', (text) => { this.stderr += text; });
        this.exited = new Promise((resolve) => {
            this.child.on('close', (code, signal) => resolve({ code, signal, at: Date.now() }));
        });
        this.ended = false;
        this.exited.then(() => { this.ended = true; });
    }

    get socketPath() {
        const at = /listening on (\/\S+)/.exec(this.stderr);
        return at?.[1] ?? path.join(this.sandbox.runtime, 'dbrx-ls/engine.sock');
    }

    get port() {
        return Number(/listening on https?:\/\/\S+:(\d+)/.exec(this.stderr)?.[1]);
    }

    async listening() {
        await eventually('listening', () => this.stderr.includes('listening on') || this.ended);
        if (this.ended) throw new Error(`the service ended: ${this.stderr}`);
        return this;
    }

    async ready() {
        await this.listening();
        await eventually('ready', async () => (await this.get('/ready')).status === 200);
        return this;
    }

    /** Where to connect: the TCP port if there is one, else the socket. */
    target() {
        // A servername of its own: a Host header is no reason to expect another certificate.
        const tcp = { host: '127.0.0.1', port: this.port, ca: this.ca, servername: 'localhost' };
        return this.port ? tcp : { socketPath: this.socketPath };
    }

    get client() { return this.ca ? https : http; }

    /** One request; `body` is sent as it is when a string or Buffer, else as JSON. */
    request(method, path_, { body, headers = {}, key } = {}) {
        const content = body === undefined || typeof body === 'string' || Buffer.isBuffer(body)
            ? body : JSON.stringify(body);
        const options = { method, path: path_, agent: false, ...this.target(),
            headers: { ...headers, ...(key ? { authorization: `Bearer ${key}` } : {}) } };
        return new Promise((resolve, reject) => {
            const request = this.client.request(options, (response) => {
                const parts = [];
                response.on('data', (part) => parts.push(part));
                response.on('error', reject);
                response.on('end', () => {
                    const text = Buffer.concat(parts).toString('utf8');
                    let json;
                    try { json = JSON.parse(text); } catch { /* not JSON */ }
                    resolve({ status: response.statusCode, headers: response.headers, text, json });
                });
            });
            request.on('error', reject);
            request.end(content);
        });
    }

    get(path_, options) { return this.request('GET', path_, options); }
    post(path_, body, options) { return this.request('POST', path_, { body, ...options }); }
    complete(body, options) { return this.post('/v1/completions', body, options); }

    /** Opens an event stream and returns it at its response: events as they come, and a way out. */
    stream(method, path_, body, { key } = {}) {
        const options = { method, path: path_, agent: false, ...this.target(),
            headers: key ? { authorization: `Bearer ${key}` } : {} };
        return new Promise((resolve, reject) => {
            const request = this.client.request(options, (response) => {
                resolve(new EventStream(request, response));
            });
            request.on('error', reject);
            request.end(body === undefined ? undefined : JSON.stringify(body));
        });
    }

    lease(options) { return this.stream('GET', '/v1/dbrx/events', undefined, options); }

    /** A bare connection, for what no client library would send. */
    connect() {
        const target = this.target();
        return new Promise((resolve, reject) => {
            const socket = net.connect(target.socketPath ? { path: target.socketPath } : target);
            socket.once('connect', () => resolve(socket)).once('error', reject);
        });
    }

    socketExists() { return fs.existsSync(this.socketPath); }
    signal(name) { this.child.kill(name); }
}

export class EventStream {
    constructor(request, response) {
        this.request = request;
        this.response = response;
        this.status = response.statusCode;
        this.events = []; // the text behind "data: "
        this.done = new Promise((resolve) => {
            let rest = '';
            response.setEncoding('utf8');
            response.on('data', (text) => {
                rest += text;
                for (let end; (end = rest.indexOf('\n\n')) >= 0; rest = rest.slice(end + 2)) {
                    const event = rest.slice(0, end);
                    if (event.startsWith('data: ')) this.events.push(event.slice(6));
                }
            });
            response.on('end', () => resolve('end'));
            response.on('error', () => resolve('cut'));
        });
        request.on('error', () => {});
    }

    /** Parsed events so far, without [DONE]. */
    get objects() {
        return this.events.filter((event) => event !== '[DONE]').map((event) => JSON.parse(event));
    }

    get last() { return this.objects.at(-1); }
    close() { this.request.destroy(); }
}
