// What the demonstration writes: colours on a terminal, plain text elsewhere and under NO_COLOR.
const BEFORE = 4;
const AFTER = 2;

// A model's text goes to a terminal: nothing in it may steer that.
function harmless(text) {
    return text
        .replaceAll('\t', '    ')
        .replace(/[\0-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g, '?');
}

export class Screen {
    constructor(stream) {
        this.stream = stream;
        this.isTerminal = stream.isTTY === true;
        this.hasColour = this.isTerminal && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
        this.width = this.isTerminal ? stream.columns || 80 : 100;
        this.inProgress = false;
    }

    #styled(code, text) {
        return this.hasColour ? `\x1b[${code}m${text}\x1b[0m` : text;
    }

    line(text = '') {
        this.stream.write(`${text}\n`);
    }

    heading(text) {
        this.line(this.#styled(1, text));
    }

    /** On a terminal one line that changes, else a line for each. */
    progress(text) {
        if (!this.isTerminal) return this.line(text);
        this.inProgress = true;
        return this.stream.write(`\r\x1b[K${text.slice(0, this.width - 1)}`);
    }

    /** What a terminal shows until the next thing comes; nothing elsewhere. */
    transient(text) {
        if (this.isTerminal) this.progress(text);
    }

    progressDone(text) {
        if (this.inProgress) this.stream.write('\r\x1b[K');
        this.inProgress = false;
        if (text) this.line(text);
    }

    /** Ghost text in place: four lines before it, two after; "[[ ]]" marks it without colours. */
    excerpt(lines, at, ghost) {
        const number = (i) => String(i + 1).padStart(5);
        const plain = (i) => this.line(`${number(i)}  ${this.#clip(harmless(lines[i]))}`);
        for (let i = Math.max(0, at - BEFORE); i < at; i++) plain(i);
        const [first, ...more] = harmless(ghost).split('\n');
        const typed = harmless(lines[at]);
        const mark = (text, room) =>
            this.hasColour
                ? this.#styled(2, this.#clip(text, room))
                : `[[${this.#clip(text, room - 4)}]]`;
        this.line(`${number(at)}  ${typed}${mark(first, this.width - 7 - typed.length)}`);
        for (const text of more) this.line(`       ${mark(text, this.width - 7)}`);
        for (let i = at + 1; i <= at + AFTER && i < lines.length; i++) plain(i);
    }

    #clip(text, room = this.width - 7) {
        const characters = [...text];
        const most = Math.max(room, 8);
        return characters.length <= most ? text : `${characters.slice(0, most - 3).join('')}...`;
    }

    /** Columns as wide as they must be; those in `right` are numbers. */
    table(head, rows, right = []) {
        const all = [head, ...rows];
        const widths = head.map((_, i) => Math.max(...all.map((row) => row[i].length)));
        for (const row of all) {
            const cells = row.map((cell, i) =>
                right.includes(i) ? cell.padStart(widths[i]) : cell.padEnd(widths[i]),
            );
            const text = this.#clip(`   ${cells.join('  ')}`.trimEnd(), this.width - 1);
            this.line(row === head ? this.#styled(4, text) : text);
        }
    }
}
