// The one allowed double: an engine that answers from a script.
//
// It speaks the engine's HTTP (Unix socket or loopback TCP) with our handshake, tokenizer and lease
// routes, or as a foreign engine without them. Token ids are decoded with another implementation's
// tokenizer, every request is recorded with what became of its stream, and a test's assertions on
// prompts run here: what they throw fails the test when the engine is closed.
import http from 'node:http';
import { once } from 'node:events';
import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { decode, encode, rankList, specials, vocabularySize } from './vocabulary.js';
import { replyOf } from './scripts.js';

const FEATURES = ['token_ids', 'lease', 'priority'];

/** Starts an engine. Options:
 *   script       what it answers (scripts.js); default: nothing but a closing fence
 *   socket       path of a Unix socket; absent: a free port of 127.0.0.1 (or `port`)
 *   foreign      true: no /v1/dbrx routes, no dbrx object in answers
 *   modelRow     fields of the row of GET /v1/models to add
 *   takesIds     false: token ids are refused with 400, as some foreign engines do; "no route": with
 *                404, there are no completions
 *   detokenizes  of a foreign engine: false: it does not say what ids mean; "otherwise": other texts
 *   chat         what it does with an assistant's message at the end: "goes on" (the default); "anew":
 *                says it again, then goes on; "refuses": 400, as with a system's message and with
 *                fields that not every chat API has: then it begins as the last message asks it to
 *   key          a Bearer key every route but /health and /ready asks for
 *   handshake    fields of GET /v1/dbrx to replace (api, version, features, state, ...)
 *   check        function (request) called for every completion; what it throws fails the test
 *   alternates   texts of the choices of a request with n; default: choices that say nothing
 *   scores       of the alternates: log-probability of the text below behind each
 *   fit          function (texts): log-probability of what is scored behind each; null: no answer
 *   warm         function (request) that is awaited before a warm request is answered
 */
export async function startScriptedEngine(options = {}) {
    const engine = new ScriptedEngine(options);
    await engine.listen();
    return engine;
}

export class ScriptedEngine {
    constructor(options) {
        this.options = options;
        this.script = options.script ?? '```';
        this.requests = []; // completions, in order of arrival; of them apart:
        this.warms = []; // with priority "warm"
        this.alternates = []; // with several choices
        this.fits = []; // that only score
        this.visits = []; // every request: "METHOD path"
        this.reportsCached = true; // how much of a prompt it has seen before
        this.failures = []; // what checks and scripts threw
        this.leases = new Set();
        this.state = options.handshake?.state ?? 'ready';
        this.progress = 1;
        this.waiters = [];
        this.port = options.port ?? 0;
    }

    get endpoint() {
        return this.options.socket
            ? `unix:${this.options.socket}`
            : `http://127.0.0.1:${this.port}`;
    }

    async listen() {
        decode(encode('warm')); // the first use of the tokenizer takes longer than an editor waits
        rankList();
        this.server = http.createServer((req, res) => {
            this.#route(req, res).catch((thrown) => this.#fail(res, thrown));
        });
        this.server.keepAliveTimeout = 60000;
        if (this.options.socket) {
            fs.rmSync(this.options.socket, { force: true });
            this.server.listen(this.options.socket);
        } else {
            this.server.listen(this.port, '127.0.0.1');
        }
        await once(this.server, 'listening');
        if (!this.options.socket) this.port = this.server.address().port;
    }

    /** Goes away with all connections, as a killed engine does; listen() brings it back. */
    async stop() {
        const closed = once(this.server, 'close');
        this.server.close();
        this.server.closeAllConnections();
        await closed;
        if (this.options.socket) fs.rmSync(this.options.socket, { force: true });
    }

    /** Stops and throws the first thing a check or a script threw. */
    async close() {
        if (this.server?.listening) await this.stop();
        if (this.failures.length > 0) throw this.failures[0];
    }

    /** Changes what the handshake and the lease streams say. */
    setState(state, progress = 1) {
        this.state = state;
        this.progress = progress;
        for (const res of this.leases) this.#sendState(res);
    }

    /** Resolves when `test(engine)` is true; tried after every event of the engine. */
    async until(test, what = 'the scripted engine', limitMs = 20000) {
        const end = Date.now() + limitMs;
        while (!test(this)) {
            if (this.failures.length > 0) throw this.failures[0];
            if (Date.now() > end) throw new Error(`waited ${limitMs} ms for ${what}`);
            await Promise.race([new Promise((done) => this.waiters.push(done)), sleep(100)]);
        }
    }

    #event() {
        for (const done of this.waiters.splice(0)) done();
    }

    #fail(res, thrown) {
        this.failures.push(thrown);
        this.#event();
        if (!res.headersSent) sendError(res, 500, 'the script failed');
        else res.destroy();
    }

    async #route(req, res) {
        const path = new URL(req.url, 'http://engine').pathname;
        this.visits.push(`${req.method} ${path}`);
        this.#event();
        if (path === '/health') return sendJson(res, 200, { status: 'ok' });
        if (path === '/ready') {
            const ready = this.state === 'ready';
            return sendJson(res, ready ? 200 : 503, { state: this.state, progress: this.progress });
        }
        if (this.options.key && req.headers.authorization !== `Bearer ${this.options.key}`)
            return sendError(res, 401, 'invalid API key');
        const route = this.#routes()[path];
        if (!route) return sendError(res, 404, `no such path: ${path}`);
        const [method, handle] = route;
        if (req.method !== method) return sendError(res, 405, `${path} takes ${method}`);
        return handle(req, res);
    }

    #routes() {
        const own = this.options.foreign
            ? {}
            : {
                  '/v1/dbrx': ['GET', (req, res) => sendJson(res, 200, this.#handshake())],
                  '/v1/dbrx/tokenizer': [
                      'GET',
                      (req, res) => {
                          res.writeHead(200, { 'content-type': 'text/plain' });
                          res.end(rankList().text);
                      },
                  ],
                  '/v1/dbrx/events': ['GET', (req, res) => this.#lease(res)],
              };
        return {
            ...own,
            '/v1/models': [
                'GET',
                (req, res) =>
                    sendJson(res, 200, {
                        object: 'list',
                        data: [
                            {
                                id: this.#handshake().model,
                                object: 'model',
                                created: 0,
                                owned_by: 'tests',
                                ...this.options.modelRow,
                            },
                        ],
                    }),
            ],
            ...(this.options.takesIds === 'no route'
                ? {}
                : { '/v1/completions': ['POST', (req, res) => this.#complete(req, res, false)] }),
            ...(this.options.foreign && this.options.detokenizes !== false
                ? { '/detokenize': ['POST', (req, res) => this.#detokenize(req, res)] }
                : {}),
            '/v1/chat/completions': ['POST', (req, res) => this.#complete(req, res, true)],
        };
    }

    #handshake() {
        return {
            api: 1,
            version: '0.1.0',
            model: 'scripted',
            tokenizer_sha256: rankList().sha256,
            max_model_len: 32768,
            vocabulary_size: vocabularySize,
            specials,
            features: FEATURES,
            backend: 'script',
            demo: false,
            ...this.options.handshake,
            state: this.state,
            progress: this.progress,
        };
    }

    async #detokenize(req, res) {
        const { tokens } = await readJson(req);
        const prompt = this.options.detokenizes === 'otherwise' ? 'other words' : decode(tokens);
        sendJson(res, 200, { prompt });
    }

    #lease(res) {
        res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
        this.leases.add(res);
        this.#sendState(res);
        const timer = setInterval(() => res.write(': ping\n\n'), 5000);
        res.on('close', () => {
            clearInterval(timer);
            this.leases.delete(res);
            this.#event();
        });
    }

    #sendState(res) {
        const running = this.requests.filter((request) => request.closedBy === null).length;
        const event = { state: this.state, progress: this.progress, queue: 0, running };
        res.write(`data: ${JSON.stringify(event)}\n\n`);
    }

    async #complete(req, res, chat) {
        const body = await readJson(req);
        if (body === undefined) return sendError(res, 400, 'the body is not JSON');
        const request = this.#record(req, res, body, chat);
        if (request.ids && this.options.takesIds === false)
            return sendError(res, 400, 'prompt: expected a string');
        const wrong = chat && this.options.chat === 'refuses' ? chatFault(body) : null;
        if (wrong) return sendError(res, 400, wrong);
        if (chat && body.n > 1) return sendError(res, 400, 'n: only one choice');
        if (!this.options.foreign && this.state !== 'ready')
            return sendError(res, 503, `the model is ${this.state}`, { 'retry-after': '1' });
        if (request.kind === 'warm') return this.#warm(res, request);
        if (request.kind === 'alternates') return this.#alternate(res, request);
        if (request.kind === 'fit') return this.#fit(res, request);
        this.options.check?.(request);
        const reply = await replyOf(this.script, request);
        if (chat && this.options.chat && this.options.chat !== 'goes on')
            reply.text = openingOf(body.messages) + String(reply.text);
        if (reply.hang) return undefined;
        if (reply.firstMs && !(await pause(reply.firstMs, request))) return undefined;
        if (reply.status) return sendError(res, reply.status, reply.message, reply.headers);
        if (reply.raw !== undefined) {
            res.writeHead(200, { 'content-type': 'text/event-stream', ...reply.headers });
            return res.end(reply.raw);
        }
        return new Answer(this, request, reply, chat).send(res);
    }

    // What a warm request computes is found by later ones.
    async #warm(res, request) {
        await this.options.warm?.(request);
        if (request.closedBy) return undefined;
        return new Answer(this, request, { text: '', finish: 'length' }, false).send(res);
    }

    async #fit(res, request) {
        const { score_behind: behind } = request.body.dbrx;
        request.texts = behind.map((ids) => decode(ids));
        const scores = await this.options.fit?.(request.texts);
        if (!scores) return undefined;
        res.writeHead(200, { 'content-type': 'text/event-stream' });
        for (let index = 0; index < behind.length; index++) {
            const choices = [{ index, text: '', finish_reason: 'length', logprobs: null }];
            res.write(`data: ${JSON.stringify({ object: 'text_completion', choices })}\n\n`);
        }
        res.write(`data: ${JSON.stringify({ choices: [], dbrx: { score_logprob: scores } })}\n\n`);
        return res.end('data: [DONE]\n\n');
    }

    async #alternate(res, request) {
        const texts = this.options.alternates ?? [];
        const id = `cmpl-${request.index}`;
        res.writeHead(200, { 'content-type': 'text/event-stream' });
        for (let index = 0; index < request.body.n; index++) {
            const must = Buffer.from(request.body.dbrx?.must_start_with ?? '', 'base64').toString();
            const text = texts[index] ? must + texts[index] : '';
            const choices = [{ index, text, finish_reason: null, logprobs: null }];
            res.write(`data: ${JSON.stringify({ id, object: 'text_completion', choices })}\n\n`);
        }
        const scores = this.options.scores ?? [];
        for (let index = 0; index < request.body.n; index++) {
            const choices = [{ index, text: '', finish_reason: 'stop', logprobs: null }];
            const dbrx = { score_logprob: Array.from({ length: request.body.n }, (_, i) => scores[i] ?? null) };
            res.write(`data: ${JSON.stringify({ id, object: 'text_completion', choices, dbrx })}\n\n`);
        }
        return res.end('data: [DONE]\n\n');
    }

    #record(req, res, body, chat) {
        let ids = null;
        let prompt = body.prompt;
        if (chat) {
            prompt = renderChat(body.messages);
        } else if (Array.isArray(prompt)) {
            ids = Array.isArray(prompt[0]) ? prompt[0] : prompt;
            prompt = decode(ids);
        }
        const kind =
            body.dbrx?.priority === 'warm' ? 'warm' : body.dbrx?.score_behind ? 'fit'
                : body.n > 1 ? 'alternates' : 'request';
        const list = { warm: this.warms, alternates: this.alternates, fit: this.fits,
            request: this.requests }[kind];
        const request = {
            kind,
            chat,
            index: list.length,
            path: req.url,
            headers: req.headers,
            body,
            ids,
            prompt,
            cached: ids ? longestSharedPrefix(ids, [...this.requests, ...this.warms]) : 0,
            at: performance.now(),
            sentBytes: 0, // of the answer's text
            closedAt: null,
            closedBy: null, // "engine": the answer was sent whole; "client": it hung up before
        };
        list.push(request);
        res.on('close', () => {
            request.closedAt = performance.now();
            request.closedBy ??= res.writableFinished ? 'engine' : 'client';
            this.#event();
        });
        this.#event();
        return request;
    }
}

/** One answer on its way out, in pieces or whole. */
class Answer {
    constructor(engine, request, reply, chat) {
        this.engine = engine;
        this.request = request;
        this.reply = reply;
        this.chat = chat;
        this.started = performance.now();
        this.bytes = Buffer.isBuffer(reply.text) ? reply.text : Buffer.from(reply.text);
        this.finish = reply.finish;
        this.tokens = 0;
        this.#bound(request.body.max_tokens ?? 16);
    }

    // An engine generates at most max_tokens; how many there were goes into the usage.
    #bound(limit) {
        if (this.reply.ignoreMaxTokens || Buffer.isBuffer(this.reply.text)) {
            this.tokens = Math.ceil(this.bytes.length / 4);
            return;
        }
        const ids = encode(String(this.reply.text).slice(0, limit * 64));
        this.tokens = Math.min(ids.length, limit);
        if (ids.length <= limit) return;
        this.bytes = Buffer.from(decode(ids.slice(0, limit)).replace(/\ufffd+$/, ''));
        this.finish = 'length';
    }

    async send(res) {
        if (!this.request.body.stream) {
            const choices = [this.#choice(this.bytes.toString(), this.finish, false)];
            return sendJson(res, 200, { ...this.#head(), choices, ...this.#costs() });
        }
        res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
        res.flushHeaders();
        if (!(await this.#sendPieces(res))) return undefined;
        this.#event(res, { ...this.#head(), choices: [this.#choice('', this.finish, true)] });
        if (this.request.body.stream_options?.include_usage)
            this.#event(res, { ...this.#head(), choices: [], ...this.#costs() });
        return res.end('data: [DONE]\n\n');
    }

    async #sendPieces(res) {
        const { pieceBytes = 16, pieceMs = 0, cutAfterBytes = Infinity } = this.reply;
        for (let from = 0; from < this.bytes.length;) {
            const to = Math.min(pieceEnd(this.bytes, from, pieceBytes), cutAfterBytes);
            if (to > from) this.#sendText(res, this.bytes.subarray(from, to));
            this.request.sentBytes = to;
            if (to >= cutAfterBytes) {
                this.request.closedBy = 'engine';
                await sleep(20); // what was written must leave first
                res.destroy();
                return false;
            }
            from = to;
            if (!(await this.#goOn(res, pieceMs))) return false;
        }
        return true;
    }

    async #goOn(res, pieceMs) {
        if (pieceMs > 0 && !(await pause(pieceMs, this.request))) return false;
        while (res.writableNeedDrain && this.request.closedBy === null)
            await Promise.race([once(res, 'drain').catch(() => {}), sleep(50)]);
        return this.request.closedBy === null;
    }

    #sendText(res, bytes) {
        const choices = [this.#choice('@TEXT@', null, true)];
        const [before, after] = JSON.stringify({ ...this.#head(), choices }).split('"@TEXT@"');
        // Written as bytes: a piece may be no valid UTF-8.
        res.write(
            Buffer.concat([
                Buffer.from(`data: ${before}`),
                jsonString(bytes),
                Buffer.from(`${after}\n\n`),
            ]),
        );
    }

    #event(res, object) {
        res.write(`data: ${JSON.stringify(object)}\n\n`);
    }

    #head() {
        const object = this.chat
            ? this.request.body.stream
                ? 'chat.completion.chunk'
                : 'chat.completion'
            : 'text_completion';
        return { id: `cmpl-${this.request.index}`, object, created: 0, model: 'scripted' };
    }

    #choice(text, finish, streamed) {
        const { logprob } = this.engine; // of every token, where a test sets one
        const logprobs = logprob === undefined ? null : { token_logprobs: Array(4).fill(logprob) };
        const choice = { index: 0, finish_reason: finish, logprobs };
        if (!this.chat) return { ...choice, text };
        const message = { role: 'assistant', content: text };
        return streamed ? { ...choice, delta: message } : { ...choice, message };
    }

    #costs() {
        const prompt = this.request.ids
            ? this.request.ids.length
            : encode(this.request.prompt).length;
        const usage = {
            prompt_tokens: prompt,
            completion_tokens: this.tokens,
            total_tokens: prompt + this.tokens,
            prompt_tokens_details: {
                cached_tokens: this.engine.reportsCached ? this.request.cached : 0,
            },
        };
        if (this.engine.options.foreign) return { usage };
        const decodeMs = performance.now() - this.started;
        return { usage, dbrx: { queue_ms: 0, prefill_ms: 0, decode_ms: decodeMs } };
    }
}

// Pieces end between characters, as those of an engine do; broken text is cut anywhere.
function pieceEnd(bytes, from, size) {
    let to = Math.min(from + size, bytes.length);
    for (let back = 0; back < 3 && to > from + 1 && (bytes[to] & 0xc0) === 0x80; back++) to--;
    return to;
}

// The bytes as a JSON string, each passed on as it is (latin1 maps bytes to characters one to one).
function jsonString(bytes) {
    const escaped = bytes
        .toString('latin1')
        .replace(/["\\\x00-\x1f]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
    return Buffer.from(`"${escaped}"`, 'latin1');
}

// False when the client hung up in the meantime.
async function pause(ms, request) {
    const end = performance.now() + ms;
    while (performance.now() < end && request.closedBy === null)
        await sleep(Math.min(20, Math.max(1, end - performance.now())));
    return request.closedBy === null;
}

function longestSharedPrefix(ids, requests) {
    let longest = 0;
    for (const { ids: earlier } of requests) {
        let n = 0;
        while (earlier && n < ids.length && n < earlier.length && ids[n] === earlier[n]) n++;
        longest = Math.max(longest, n);
    }
    return longest;
}

const ASKED = /\nYour answer begins with exactly these characters and goes on right behind them:\n([^]*)$/;

/** What an answer to these messages begins with: the assistant's own, or what the user asks for. */
function openingOf(messages) {
    const { role, content } = messages.at(-1);
    return role === 'assistant' ? content : (ASKED.exec(content)?.[1] ?? '');
}

/** What a service with a strict API says to a body. */
function chatFault({ messages, ...fields }) {
    const known = ['model', 'max_tokens', 'temperature', 'seed', 'stream', 'stream_options', 'stop', 'n'];
    const unknown = Object.keys(fields).find((name) => !known.includes(name));
    if (unknown) return `unrecognized field: ${unknown}`;
    const alternate = messages.every(({ role }, i) => role === (i % 2 ? 'assistant' : 'user'));
    return alternate && messages.length % 2 === 1 ? null : 'roles must alternate and end with a user';
}

/** The ChatML a list of messages stands for; the last turn stays open and says what the answer begins
 *  with. */
function renderChat(messages) {
    const ended = messages.at(-1)?.role === 'assistant' ? messages.slice(0, -1) : messages;
    const parts = ended.map(({ role, content }) => `<|im_start|>${role}\n${content}<|im_end|>\n`);
    return `${parts.join('')}<|im_start|>assistant\n${openingOf(messages)}`;
}

async function readJson(req) {
    const parts = [];
    for await (const part of req) parts.push(part);
    try {
        return JSON.parse(Buffer.concat(parts).toString('utf8'));
    } catch {
        return undefined;
    }
}

function sendJson(res, status, object) {
    res.writeHead(status, { 'content-type': 'application/json' });
    res.end(JSON.stringify(object));
}

function sendError(res, status, message, headers = {}) {
    const type = {
        400: 'invalid_request_error',
        401: 'authentication_error',
        404: 'not_found_error',
    };
    res.writeHead(status, { 'content-type': 'application/json', ...headers });
    res.end(
        JSON.stringify({
            error: { message, type: type[status] ?? 'server_error', param: null, code: null },
        }),
    );
}
