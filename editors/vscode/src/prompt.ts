// "Show the Last Prompt of This File": what was sent for its last completion, as a read-only text.
import * as vscode from 'vscode';
import type { LanguageClient } from 'vscode-languageclient/node';

const scheme = 'dbrx-prompt';

interface Block {
    kind: string;
    path: string;
    reason: string;
    tokens: number;
}

interface Report {
    blocks: Block[];
    tokens: number;
    cached: number;
    ms: Record<string, number>;
    nothing?: string;
}

function table(rows: string[][]): string {
    const widths = (rows[0] ?? []).map((_, i) =>
        Math.max(...rows.map((row) => (row[i] ?? '').length)),
    );
    return rows
        .map((row) =>
            row
                .map((cell, i) => cell.padEnd(widths[i] ?? 0))
                .join('  ')
                .trimEnd(),
        )
        .join('\n');
}

function render(uri: string, report: Report): string {
    const rows = report.blocks.map((block) => [
        block.kind,
        String(block.tokens),
        block.path,
        block.reason,
    ]);
    const stages = Object.entries(report.ms).map(([stage, ms]) => `${stage} ${ms.toFixed(1)} ms`);
    return [
        uri,
        `${report.tokens} tokens, ${report.cached} of them from the engine's cache`,
        stages.join(', '),
        ...(report.nothing ? [`nothing was shown: ${report.nothing}`] : []),
        '',
        table([['block', 'tokens', 'file', 'reason'], ...rows]),
        '',
    ].join('\n');
}

export class PromptViewer implements vscode.TextDocumentContentProvider, vscode.Disposable {
    private readonly changed = new vscode.EventEmitter<vscode.Uri>();
    readonly onDidChange = this.changed.event;
    private readonly registration = vscode.workspace.registerTextDocumentContentProvider(
        scheme,
        this,
    );
    private content = '';

    constructor(private readonly client: () => LanguageClient | undefined) {}

    provideTextDocumentContent(): string {
        return this.content;
    }

    async show(): Promise<void> {
        const document = vscode.window.activeTextEditor?.document;
        const client = this.client();
        if (!document || document.uri.scheme === scheme) return;
        const uri = document.uri.toString();
        const report = client?.isRunning()
            ? await client.sendRequest<Report | null>('dbrx/prompt', { textDocument: { uri } })
            : null;
        this.content = report ? render(uri, report) : 'Nothing was sent for this file yet.\n';
        const target = vscode.Uri.parse(`${scheme}:prompt.txt`);
        this.changed.fire(target);
        await vscode.window.showTextDocument(target, {
            preview: true,
            viewColumn: vscode.ViewColumn.Beside,
        });
    }

    dispose(): void {
        this.registration.dispose();
        this.changed.dispose();
    }
}
