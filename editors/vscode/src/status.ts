// The status bar: one word, and the reason behind it. What the server says is data, not Markdown.
import * as vscode from 'vscode';

interface Status {
    state: string;
    reason: string;
    progress: number;
    model: string;
    endpoint: string;
    tokens_per_s: number;
    cached_share: number;
    demo: boolean;
}

const icons: Record<string, string> = {
    starting: '$(loading~spin)',
    loading: '$(loading~spin)',
    ready: '$(check)',
    busy: '$(sync~spin)',
    degraded: '$(warning)',
    off: '$(circle-slash)',
};

function textOf(value: unknown): string {
    return typeof value === 'string' ? value : '';
}

function numberOf(value: unknown): number {
    return typeof value === 'number' && Number.isFinite(value) ? value : 0;
}

function read(params: unknown): Status {
    const from = (typeof params === 'object' && params !== null ? params : {}) as Record<
        string,
        unknown
    >;
    return {
        state: textOf(from['state']) || 'off',
        reason: textOf(from['reason']),
        progress: numberOf(from['progress']),
        model: textOf(from['model']),
        endpoint: textOf(from['endpoint']),
        tokens_per_s: numberOf(from['tokens_per_s']),
        cached_share: numberOf(from['cached_share']),
        demo: from['demo'] === true,
    };
}

export class StatusBar implements vscode.Disposable {
    private readonly item = vscode.window.createStatusBarItem(
        'dbrx.status',
        vscode.StatusBarAlignment.Right,
        90,
    );
    private status = read({ state: 'starting' });

    constructor() {
        this.item.name = 'dbrx-ls';
        this.item.command = 'dbrx.showStatus';
        this.draw();
        this.item.show();
    }

    update(params: unknown): void {
        this.status = read(params);
        this.draw();
    }

    starting(): void {
        this.update({ state: 'starting', reason: 'the server ended and is started again' });
    }

    off(reason: string): void {
        this.update({ state: 'off', reason });
    }

    async show(): Promise<void> {
        const choice = await vscode.window.showInformationMessage(
            `dbrx-ls: ${this.status.state}`,
            { modal: true, detail: this.lines().join('\n') },
            'Restart',
        );
        if (choice === 'Restart') await vscode.commands.executeCommand('dbrx.restart');
    }

    private lines(): string[] {
        const s = this.status;
        return [
            s.reason,
            s.model && `Model: ${s.model}${s.demo ? ' (a small demonstration model)' : ''}`,
            s.endpoint && `Engine: ${s.endpoint}`,
            s.tokens_per_s > 0 ? `Speed: ${s.tokens_per_s.toFixed(1)} tokens/s` : '',
            s.cached_share > 0
                ? `From the cache: ${Math.round(100 * s.cached_share)} % of the prompt`
                : '',
        ].filter((line) => line !== '');
    }

    private draw(): void {
        const { state, progress } = this.status;
        const share = state === 'loading' ? ` ${Math.floor(100 * progress)} %` : '';
        this.item.text = `${icons[state] ?? '$(question)'} dbrx${share}`;
        this.item.tooltip = [`dbrx-ls: ${state}`, ...this.lines()].join('\n'); // a text, not Markdown
    }

    dispose(): void {
        this.item.dispose();
    }
}
