// VS Code as a user sees it: code-server with our packed extension, shown by headless Chromium.
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { build, program } from '../node/support/modules.js';

const home = path.resolve(build, 'vscode');
const entry = path.join(home, 'node_modules/code-server/out/node/entry.js');

/** A port of 127.0.0.1 that was free a moment ago. */
function freePort() {
    return new Promise((done) => {
        const server = net.createServer().listen(0, '127.0.0.1', () => {
            const { port } = server.address();
            server.close(() => done(port));
        });
    });
}

const settingsOf = (more) => ({
    'dbrx.server.path': path.resolve(program),
    'editor.inlineSuggest.enabled': true,
    'editor.quickSuggestions': { other: 'off', comments: 'off', strings: 'off' },
    'editor.wordBasedSuggestions': 'off',
    'editor.parameterHints.enabled': false,
    'security.workspace.trust.enabled': false,
    'workbench.startupEditor': 'none',
    'workbench.tips.enabled': false,
    'telemetry.telemetryLevel': 'off',
    'git.openRepositoryInParentFolders': 'never',
    ...more,
});

export class VsCode {
    /** `settings`: the user's, over those that keep the screen still. */
    constructor(sandbox, settings = {}) {
        this.sandbox = sandbox;
        this.data = path.join(sandbox.directory, 'vscode');
        const user = path.join(this.data, 'User');
        fs.mkdirSync(user, { recursive: true });
        fs.writeFileSync(path.join(user, 'settings.json'), JSON.stringify(settingsOf(settings)));
    }

    #command(...args) {
        return [entry, '--user-data-dir', this.data,
            '--extensions-dir', path.join(this.data, 'extensions'), ...args];
    }

    #environment() {
        // no gallery: an unreachable one of loopback
        const gallery = JSON.stringify({ serviceUrl: 'http://127.0.0.1:9/' });
        return this.sandbox.env({ EXTENSIONS_GALLERY: gallery });
    }

    install(vsix) {
        const r = spawnSync(process.execPath, this.#command('--install-extension', vsix),
            { env: this.#environment(), encoding: 'utf8' });
        if (r.status !== 0) throw new Error(`${vsix}: ${r.stdout}${r.stderr}`);
    }

    /** Serves `folder` and shows it in a page of its own. */
    async open(folder) {
        const { chromium } = createRequire(path.join(home, 'package.json'))('playwright-core');
        const port = await freePort();
        const address = `127.0.0.1:${port}`;
        this.log = fs.openSync(path.join(this.sandbox.directory, 'code-server.log'), 'a');
        this.server = spawn(process.execPath, this.#command('--auth', 'none', '--bind-addr', address,
            '--disable-telemetry', '--disable-update-check', '--disable-workspace-trust',
            '--disable-getting-started-override'),
        { env: this.#environment(), stdio: ['ignore', this.log, this.log] });
        await this.#answers(address);
        this.browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: [
            '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
            '--disable-background-networking', '--disable-component-update', '--disable-sync'] });
        this.page = await this.browser.newPage({ viewport: { width: 1280, height: 900 } });
        await this.page.goto(`http://${address}/?folder=${encodeURIComponent(folder)}`);
        await this.page.locator('.monaco-workbench').waitFor({ timeout: 60000 });
    }

    async #answers(address) {
        for (let i = 0; i < 300; i++) {
            const alive = await fetch(`http://${address}/healthz`).catch(() => null);
            if (alive) return;
            await sleep(100);
        }
        throw new Error('code-server did not come up');
    }

    /** A command of ours from the palette, by its title. */
    async command(title) {
        await this.page.keyboard.press('F1');
        const box = this.page.locator('.quick-input-widget input').first();
        await box.fill(`>dbrx-ls: ${title}`);
        await this.page.locator('.quick-input-list .monaco-list-row').filter({ hasText: title })
            .first().waitFor({ timeout: 20000 });
        await this.page.keyboard.press('Enter');
    }

    /** Opens a file of the folder with the cursor at a place (from 1). */
    async openFile(name, line, column) {
        await this.page.keyboard.press('Control+p');
        await this.page.locator('.quick-input-widget input').first().fill(`${name}:${line}:${column}`);
        await this.page.locator('.quick-input-list .monaco-list-row').filter({ hasText: name })
            .first().waitFor({ timeout: 20000 });
        await this.page.keyboard.press('Enter');
        await this.page.locator('.monaco-editor .view-line').first().waitFor({ timeout: 20000 });
        await sleep(300); // the focus moves into the editor
    }

    /** Waits until `question()` answers something true; its answer. */
    async until(question, what, ms = 20000) {
        const end = Date.now() + ms;
        for (;;) {
            const answer = await question();
            if (answer) return answer;
            if (Date.now() > end) throw new Error(`${what}: not within ${ms} ms`);
            await sleep(50);
        }
    }

    /** The ghost text on the screen, its lines joined; "" while there is none. */
    async ghost() {
        // a line is many pieces, coloured one by one: those at one height belong together
        const parts = await this.page.locator('[class*=ghost-text]:visible').evaluateAll((found) =>
            found.filter((e) => !e.querySelector('[class*=ghost-text]'))
                .map((e) => ({ text: e.textContent, top: Math.round(e.getBoundingClientRect().top) })));
        const lines = new Map();
        for (const { text, top } of parts) lines.set(top, (lines.get(top) ?? '') + text);
        return [...lines.values()].join('\n').replaceAll('\u00a0', ' ').replaceAll('\u200b', '');
    }

    ghostIs(expected) {
        let seen;
        return this.until(async () => (seen = await this.ghost()) === expected, 'ghost text')
            .catch(() => { throw new Error(`ghost text ${JSON.stringify(seen)}, expected ${JSON.stringify(expected)}`); });
    }

    /** What all editors on the screen show. */
    async text() {
        const parts = await this.page.locator('.editor-instance .view-lines').allInnerTexts();
        return parts.join('\n').replaceAll('\u00a0', ' ');
    }

    /** The status bar's item of ours. */
    async status() {
        return (await this.page.locator('.statusbar-item').allInnerTexts())
            .find((text) => /dbrx/i.test(text)) ?? '';
    }

    /** Whether an item of the status bar says it. */
    async mentions(words) {
        return (await this.page.locator('.statusbar-item').allInnerTexts()).some((text) => words.test(text));
    }

    async clearNotifications() {
        await this.page.keyboard.press('F1');
        await this.page.locator('.quick-input-widget input').first().fill('>Notifications: Clear All');
        await this.page.locator('.quick-input-list .monaco-list-row').filter({ hasText: 'Clear All Notifications' })
            .first().waitFor({ timeout: 20000 });
        await this.page.keyboard.press('Enter');
        await this.until(async () => (await this.notifications()).length === 0, 'no notifications');
    }

    notifications() {
        return this.page.locator('.notification-toast:visible').allInnerTexts();
    }

    async close() {
        await this.browser?.close();
        this.server?.kill('SIGKILL');
        if (this.log !== undefined) fs.closeSync(this.log);
    }
}
