// `make demo`: the main job on this very repository, through the same door an editor uses.
//
// Starts the language server over stdio with this checkout as workspace, completes in three of its
// source files, opens up one prompt, kills the engine and completes again. Everything runs in
// directories of its own, which go with it. Exit code 0 only if every step did what it says.
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { build, program, repository } from '../node/support/modules.js';
import { LspClient } from '../node/support/lsp_client.js';
import { places } from './places.js';
import { Screen } from './screen.js';

const LIMIT_MS = 115000;
const SEARCH_MS = 55000;
const WANTED = 3;

const screen = new Screen(process.stdout);
const began = Date.now();
let client = null;

class DemoFailure extends Error {}

function modelDirectory() {
    return process.env.DBRX_MODEL ?? path.join(build, 'model');
}

function describeModel(directory) {
    let config;
    try {
        config = JSON.parse(fs.readFileSync(path.join(directory, 'config.json'), 'utf8'));
    } catch (error) {
        throw new DemoFailure(`no model in ${directory}: ${error.message}`);
    }
    const shape =
        `${config.n_layers} layers, d_model ${config.d_model}, ` +
        `${config.ffn_config?.moe_num_experts} experts`;
    if (config.dbrx_ls?.demo === true) {
        return (
            `Model: the embedded one (${shape}), trained on public code for 45 minutes of two ` +
            'CPU cores: it shows the pipeline, and is no DBRX-Instruct.'
        );
    }
    return `Model: ${directory} (${shape}).`;
}

async function startEditor(model) {
    if (!fs.existsSync(program)) throw new DemoFailure(`${program} is not built`);
    client = new LspClient({ folder: repository, model });
    screen.line(
        `Language server: ${path.relative(process.cwd(), program)} over stdio, ` +
            `workspace ${repository}`,
    );
    await client.start();
    await untilReady('engine');
}

// Shows the engine's way to "ready" as the server tells it.
async function untilReady(what) {
    const from = Date.now();
    let seen = client.statuses.length;
    const show = (status) =>
        screen.progress(
            `${what}: ${status.state}` +
                (status.state === 'loading'
                    ? ` ${Math.round(100 * (status.progress ?? 0))} %`
                    : '') +
                (status.reason ? ` (${status.reason})` : ''),
        );
    const usable = (status) => status && ['ready', 'busy'].includes(status.state);
    while (!usable(client.status)) {
        if (client.exited)
            throw new DemoFailure(`the language server ended: ${client.stderr.trim()}`);
        if (Date.now() - from > 60000)
            throw new DemoFailure(
                `the engine is not ready after 60 s: ${JSON.stringify(client.status)}`,
            );
        if (client.statuses.length !== seen) show(client.status);
        seen = client.statuses.length;
        await sleep(50);
    }
    screen.progressDone(`${what}: ready after ${seconds(Date.now() - from)}`);
}

function seconds(ms) {
    return `${(ms / 1000).toFixed(1)} s`;
}

/** Completes at a place with the rest of its line taken away, as if it were being typed. */
async function completeAt({ file, line, column }) {
    const text = fs.readFileSync(path.join(repository, file), 'utf8');
    const lines = text.split('\n');
    lines[line] = lines[line].slice(0, column);
    const uri = client.open(file, lines.join('\n'));
    const from = Date.now();
    const items = await client.complete(uri, { line, character: column }, { invoked: true });
    const ms = Date.now() - from;
    const report = await client.prompt(uri);
    client.closeDocument(uri);
    return { file, line, column, lines, item: items[0], ms, report };
}

function ghostOf({ item, lines, line, column }) {
    if (!item) return '';
    const text = typeof item.insertText === 'string' ? item.insertText : item.insertText.value;
    const already = lines[line].slice(item.range.start.character, column);
    return text.startsWith(already) ? text.slice(already.length) : '';
}

function figuresOf(completion) {
    const { report, ms } = completion;
    const number = (value, digits) => (Number.isFinite(value) ? value.toFixed(digits) : '?');
    return [
        `first token after ${number(report.ms.first_token, 0)} ms`,
        // 0: all tokens came at once, and tell nothing of a rate.
        ...(report.tokens_per_s > 0 ? [`${number(report.tokens_per_s, 1)} tokens/s`] : []),
        `${report.cached} of ${report.tokens} prompt tokens reused`,
        `${ms} ms in all`,
    ].join(', ');
}

// Several places are tried: a model may say nothing that can be shown.
async function showCompletions(candidates, wanted) {
    const shown = [];
    const from = Date.now();
    let empty = 0;
    for (const place of candidates) {
        if (shown.length === wanted || Date.now() - from > SEARCH_MS) break;
        screen.transient(`completing at ${place.file}:${place.line + 1}`);
        const completion = await completeAt(place);
        const ghost = ghostOf(completion);
        if (ghost.trim() === '') {
            empty++;
            continue;
        }
        shown.push(completion);
        screen.progressDone('');
        screen.line();
        screen.heading(`${shown.length}. ${place.file}:${place.line + 1}`);
        screen.excerpt(completion.lines, place.line, ghost);
        screen.line(`   ${figuresOf(completion)}`);
    }
    screen.progressDone('');
    if (empty > 0)
        screen.line(`   (at ${empty} other place${empty > 1 ? 's' : ''} nothing visible came)`);
    if (shown.length < wanted)
        throw new DemoFailure(`${shown.length} of ${wanted} completions could be shown`);
    return shown;
}

// Which blocks stood in the engine's cache: it keeps the beginning of a prompt.
function cachedWords(blocks, cached) {
    let before = 0;
    return blocks.map(({ tokens }) => {
        const from = before;
        before += tokens;
        if (cached >= before) return 'yes';
        return cached > from ? `${cached - from}` : 'no';
    });
}

function showPrompt(completion) {
    const { report, file, line } = completion;
    screen.line();
    screen.heading(`The prompt of ${file}:${line + 1}, opened up`);
    const cached = cachedWords(report.blocks, report.cached);
    const rows = report.blocks.map((block, i) => [
        block.kind,
        block.path,
        String(block.tokens),
        cached[i],
        block.reason,
    ]);
    screen.table(['block', 'file', 'tokens', 'cached', 'reason'], rows, [2, 3]);
    screen.line(
        `   ${report.tokens} tokens, ${report.cached} from the cache; milliseconds: ` +
            Object.entries(report.ms)
                .map(([stage, ms]) => `${stage} ${ms.toFixed(1)}`)
                .join(', '),
    );
}

async function killEngine() {
    const pid = client.sandbox.enginePid();
    if (!pid) throw new DemoFailure('no engine process found in engine.lock');
    screen.line();
    screen.heading('The engine is killed');
    process.kill(pid, 'SIGKILL');
    screen.line(`   kill -9 ${pid}`);
    return pid;
}

// The next request an editor sends; empty lists until the engine is back.
async function completeAgain(killed, candidates) {
    const from = Date.now();
    let unanswered = 0;
    for (let round = 0; Date.now() - from < 45000; round++) {
        const completion = await completeAt(candidates[round % candidates.length]);
        const ghost = ghostOf(completion);
        const pid = client.sandbox.enginePid();
        if (ghost.trim() !== '' && pid && pid !== killed) {
            screen.line(
                `   next completion ${seconds(Date.now() - from)} later, from engine ${pid}` +
                    (unanswered ? ` (${unanswered} empty answers before, no error)` : ''),
            );
            screen.excerpt(completion.lines, completion.line, ghost);
            return Date.now() - from;
        }
        unanswered++;
        await sleep(200);
    }
    throw new DemoFailure('no completion within 45 s after the engine was killed');
}

async function run() {
    const model = modelDirectory();
    screen.line(describeModel(model));
    await startEditor(model);
    const candidates = places(repository);
    const shown = await showCompletions(candidates, WANTED);
    showPrompt(shown.at(-1));
    const killed = await killEngine();
    const recovery = await completeAgain(killed, shown);
    await client.shutdown();
    screen.line();
    screen.line(
        `demo: ${shown.length} completions shown, the engine killed and back in ` +
            `${seconds(recovery)}, ${seconds(Date.now() - began)} in all`,
    );
}

let ending = false;

async function end(code, reason) {
    if (ending) return;
    ending = true;
    if (reason) {
        screen.progressDone('');
        console.error(`demo: failed: ${reason}`);
    }
    await client?.close();
    process.exit(code);
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
    process.on(signal, () => end(130, `stopped by ${signal}`));
setTimeout(() => end(1, `not done after ${LIMIT_MS / 1000} s`), LIMIT_MS).unref();

run().then(
    () => end(0),
    (error) => end(1, error instanceof DemoFailure ? error.message : error.stack),
);
