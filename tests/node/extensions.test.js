// The dbrx object of a completion request, over HTTP: what it changes, and what the answer says of it.
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Sandbox } from './support/sandbox.js';
import { Service } from './support/service.js';
import { makeTinyModel } from './support/tiny_model.js';

const GREEDY = { temperature: 0, ignore_eos: true };
const PROMPT = Array.from({ length: 40 }, (_, i) => (i * 37) % 900);

describe('extensions', () => {
    let sandbox, service;
    before(async () => {
        sandbox = new Sandbox();
        const model = makeTinyModel(path.join(sandbox.work, 'tiny-dbrx'), { demo: true });
        service = new Service(sandbox, ['--model', model, '--threads', '1', '--idle', 'never']);
        await service.ready();
    });
    after(() => sandbox.close());

    const complete = async (body) => {
        const { status, json } = await service.complete(body);
        assert.equal(status, 200, JSON.stringify(json));
        return json;
    };
    const idsOf = (json) => json.choices[0].logprobs.tokens;

    test('the handshake names them', async () => {
        const { json } = await service.get('/v1/dbrx');
        for (const name of ['forbid_first', 'forbid_unopened', 'score', 'score_behind', 'predicted'])
            assert.ok(json.features.includes(name), name);
    });

    test('what is predicted, rightly or wrongly, changes nothing but the way there', async () => {
        const request = { ...GREEDY, prompt: PROMPT, max_tokens: 60, logprobs: 1 };
        const plain = await complete({ ...request, dbrx: { draft: false } });
        assert.equal(plain.dbrx.drafted, 0);
        const text = plain.choices[0].text;
        for (const predicted of [text, text.slice(0, 20) + '?' + text.slice(21), 'nothing of the kind']) {
            const json = await complete({ ...request, dbrx: { predicted } });
            assert.deepEqual(json.choices[0], plain.choices[0]);
            assert.ok(json.dbrx.accepted <= json.dbrx.drafted);
            assert.equal(json.usage.completion_tokens, 60);
        }
    });

    test('the first token gives way to the next best', async () => {
        const list = (await service.get('/v1/dbrx/tokenizer')).text.split('\n').filter(Boolean);
        const idOf = (token) => list.findIndex((l) =>
            Buffer.from(l.split(' ')[0], 'base64').equals(Buffer.from(token)));
        let tried = 0;
        for (let n = 20; n < 40 && tried < 3; n++) {
            const request = { ...GREEDY, prompt: PROMPT.slice(0, n), max_tokens: 1, logprobs: 3 };
            const plain = await complete(request);
            const best = Object.keys(plain.choices[0].logprobs.top_logprobs[0]);
            assert.equal(idsOf(plain)[0], best[0]);
            if (idOf(best[0]) < 0) continue; // part of a character: it has no spelling
            const json = await complete({ ...request, dbrx: { forbid_first: [idOf(best[0])] } });
            assert.equal(idsOf(json)[0], best[1]);
            tried++;
        }
        assert.equal(tried, 3);
    });

    test('brackets close what was opened', async () => {
        for (let seed = 0; seed < 6; seed++) {
            const json = await complete({ prompt: PROMPT, max_tokens: 300, temperature: 2, seed,
                ignore_eos: true, dbrx: { forbid_unopened: ')]}' } });
            const depth = { ')': 0, ']': 0, '}': 0 }, closer = { '(': ')', '[': ']', '{': '}' };
            for (const c of json.choices[0].text) {
                if (closer[c]) depth[closer[c]]++;
                if (c in depth) assert.ok(--depth[c] >= 0, json.choices[0].text);
            }
        }
    });

    test('scores: one number, or one by choice; as the log-probabilities say', async () => {
        const answer = await complete({ ...GREEDY, prompt: PROMPT, max_tokens: 8, logprobs: 0 });
        const { token_logprobs: said } = answer.choices[0].logprobs;
        // The same eight tokens, the last three of them scored behind the first five.
        const ids = await complete({ ...GREEDY, prompt: PROMPT, max_tokens: 5 });
        assert.ok(answer.choices[0].text.startsWith(ids.choices[0].text));
        const bytes = new Map((await service.get('/v1/dbrx/tokenizer')).text.split('\n').filter(Boolean)
            .map((l) => [Buffer.from(l.split(' ')[0], 'base64').toString('latin1'), Number(l.split(' ')[1])]));
        const spelt = answer.choices[0].logprobs.tokens.map((token) => (token.startsWith('bytes:')
            ? token.slice(6).split('\\x').filter(Boolean).map((h) => String.fromCharCode(parseInt(h, 16))).join('')
            : Buffer.from(token).toString('latin1')));
        const { specials } = (await service.get('/v1/dbrx')).json;
        for (const [name, id] of Object.entries(specials)) bytes.set(name, id).set(`<|${name}|>`, id);
        const score = spelt.slice(5).map((s) => bytes.get(s));
        const scored = await complete({ ...GREEDY, prompt: PROMPT, max_tokens: 5, dbrx: { score } });
        const expected = said.slice(5).reduce((a, b) => a + b);
        assert.ok(Math.abs(scored.dbrx.score_logprob - expected) < 1e-4,
            `${scored.dbrx.score_logprob}, expected ${expected}`);
        const several = await complete({ prompt: PROMPT, max_tokens: 5, n: 3, seed: 1, dbrx: { score } });
        assert.equal(several.dbrx.score_logprob.length, 3);
        assert.ok(several.dbrx.score_logprob.every((x) => x < 0));
        assert.equal(answer.dbrx.score_logprob, undefined);
    });

    test('scores without an answer: behind the prompt and each list of ids', async () => {
        const score = [17, 403, 5], behind = [[], [1, 2, 3], [400], [7, 7]];
        const ask = (body) => complete({ temperature: 0, ...body });
        const json = await ask({ prompt: PROMPT, max_tokens: 0, dbrx: { score, score_behind: behind } });
        assert.deepEqual(json.choices.map((c) => [c.index, c.text, c.finish_reason]),
            behind.map((_, i) => [i, '', 'length']));
        assert.equal(json.usage.prompt_tokens, PROMPT.length);
        assert.equal(json.usage.completion_tokens, 0);
        for (const [i, ids] of behind.entries()) {
            const whole = { prompt: [...PROMPT, ...ids], max_tokens: 0, dbrx: { score, cache_salt: `${i}` } };
            const alone = (await ask(whole)).dbrx.score_logprob;
            assert.ok(alone < 0);
            assert.equal(json.dbrx.score_logprob[i], alone);
        }
        const { status, json: refused } = await service.complete({ prompt: PROMPT, max_tokens: 0,
            dbrx: { score, score_behind: [[1], [99999]] } });
        assert.equal(status, 400);
        assert.match(refused.error.message, /id 99999/);
    });

    test('candidates of one prompt compute it once', async () => {
        const prompt = Array.from({ length: 100 }, (_, i) => (i * 53) % 900);
        const json = await complete({ prompt, max_tokens: 20, n: 4, seed: 3, ignore_eos: true,
            temperature: 2, dbrx: { cache_salt: 'cold' } });
        assert.equal(new Set(json.choices.map((c) => c.text)).size, 4);
        assert.equal(json.usage.prompt_tokens, 100);
        for (const [index, choice] of json.choices.entries()) assert.equal(choice.index, index);
    });

    test('what cannot be is refused by name', async () => {
        for (const [dbrx, param] of [[{ score: 'x' }, 'dbrx.score'], [{ forbid_unopened: 'x' }, 'dbrx.forbid_unopened'],
            [{ forbid_first: [1.5] }, 'dbrx.forbid_first[0]'], [{ predicted: 7 }, 'dbrx.predicted']]) {
            const { status, json } = await service.complete({ prompt: 'x', dbrx });
            assert.equal(status, 400);
            assert.equal(json.error.param, param);
        }
        const { status, json } = await service.complete({ prompt: 'x', dbrx: { score: [99999] } });
        assert.equal(status, 400);
        assert.match(json.error.message, /score\[0\] is 99999/);
    });
});
