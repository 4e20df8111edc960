// OpenAI's own client against the service, unchanged: what works there works in any tool built on it.
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { load } from './support/modules.js';
import { Sandbox } from './support/sandbox.js';
import { eventually, Service } from './support/service.js';
import { makeTinyModel } from './support/tiny_model.js';

const OpenAI = load('openai').default;
const KEY = 'key-for-openai';
const MODEL = 'tiny-dbrx';
const FIXED = { model: MODEL, seed: 4, temperature: 0.8, ignore_eos: true };
let sandbox, service, client;

before(async () => {
    sandbox = new Sandbox();
    const model = makeTinyModel(path.join(sandbox.work, MODEL));
    service = new Service(sandbox, ['--port', '0', '--model', model, '--threads', '1'],
        { env: { DBRX_API_KEY: KEY } });
    await service.ready();
    client = new OpenAI({ apiKey: KEY, baseURL: `http://127.0.0.1:${service.port}/v1`, maxRetries: 0 });
});
after(() => sandbox.close());

test('models', async () => {
    const list = await client.models.list();
    assert.deepEqual(list.data.map((m) => m.id), [MODEL]);
});

test('completions, whole and streamed', async () => {
    const request = { ...FIXED, prompt: 'int main(', max_tokens: 20, n: 2 };
    const whole = await client.completions.create(request);
    assert.equal(whole.choices.length, 2);
    assert.equal(whole.usage.completion_tokens, 40);
    const texts = ['', ''];
    let usage;
    const stream = await client.completions.create(
        { ...request, stream: true, stream_options: { include_usage: true } });
    for await (const chunk of stream) {
        for (const choice of chunk.choices) texts[choice.index] += choice.text;
        usage = chunk.usage ?? usage;
    }
    assert.deepEqual(texts, whole.choices.map((c) => c.text));
    assert.deepEqual(usage, { ...whole.usage, prompt_tokens_details: usage.prompt_tokens_details });
});

test('chat, whole and streamed', async () => {
    const request = { ...FIXED, max_completion_tokens: 16,
        messages: [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: 'Hello' }] };
    const whole = await client.chat.completions.create(request);
    assert.equal(whole.choices[0].message.role, 'assistant');
    assert.equal(whole.choices[0].finish_reason, 'length');
    const stream = await client.chat.completions.create({ ...request, stream: true });
    let text = '';
    const roles = [], reasons = [];
    for await (const chunk of stream) {
        const [choice] = chunk.choices;
        text += choice.delta.content ?? '';
        if (choice.delta.role) roles.push(choice.delta.role);
        if (choice.finish_reason) reasons.push(choice.finish_reason);
    }
    assert.equal(text, whole.choices[0].message.content);
    assert.deepEqual(roles, ['assistant']);
    assert.deepEqual(reasons, ['length']);
});

test("the client's own accumulation of a stream", async () => {
    const runner = client.chat.completions.stream({ ...FIXED, max_tokens: 12, logprobs: true,
        messages: [{ role: 'user', content: [{ type: 'text', text: 'Hi' }] }] });
    const final = await runner.finalChatCompletion();
    assert.equal(final.choices[0].finish_reason, 'length');
    assert.equal(final.choices[0].logprobs.content.length, 12);
});

test('errors arrive as the classes the client has for them', async () => {
    await assert.rejects(client.completions.create({ model: MODEL, prompt: 'x', max_tokens: -1 }),
        (e) => e instanceof OpenAI.BadRequestError && e.param === 'max_tokens');
    await assert.rejects(client.completions.create({ model: 'gpt-0', prompt: 'x' }),
        (e) => e instanceof OpenAI.NotFoundError && e.code === 'model_not_found');
    await assert.rejects(client.embeddings.create({ model: MODEL, input: 'x' }),
        (e) => e instanceof OpenAI.NotFoundError && e.code === 'unknown_url');
    const stranger = client.withOptions({ apiKey: 'wrong' });
    await assert.rejects(stranger.models.list(),
        (e) => e instanceof OpenAI.AuthenticationError && e.code === 'invalid_api_key');
});

test('an aborted stream frees its place', async () => {
    const lease = await service.lease({ key: KEY });
    const stream = await client.completions.create(
        { ...FIXED, prompt: 'x', max_tokens: 4000, stream: true });
    for await (const chunk of stream) {
        assert.ok(chunk.id);
        break; // the client closes the connection
    }
    await eventually('stopped', () => lease.last?.running === 0 && lease.last.queue === 0);
    lease.close();
});
