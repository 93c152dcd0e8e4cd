import { FitAddon } from "@xterm/addon-fit";
import { Terminal } from "@xterm/xterm";

export type TerminalSides = { columns: number; rows: number };

/** A terminal in the page. Loaded with the first shell. */
export type DrawnTerminal = {
  size(): TerminalSides;
  /** Resolves when it has been processed. */
  write(bytes: Uint8Array): Promise<void>;
  focus(): void;
  /** Takes the colours of the page again. */
  recolour(): void;
  close(): void;
};

export type TerminalCallbacks = { onInput(bytes: Uint8Array): void; onResize(size: TerminalSides): void };

const LINES_KEPT = 5_000;

/** Fills `place`, and follows its size. */
export function drawTerminal(place: HTMLElement, { onInput, onResize }: TerminalCallbacks): DrawnTerminal {
  const styles: CSSStyleSheet[] = [];
  const restore = replaceInlineStyles(styles);
  const terminal = new Terminal({
    cursorBlink: true,
    fontFamily: "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace",
    fontSize: 13,
    scrollback: LINES_KEPT,
    screenReaderMode: true,
    theme: themeOf(place),
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.open(place);
  fit.fit();
  const encoder = new TextEncoder();
  terminal.onData((text) => onInput(encoder.encode(text)));
  // What a mouse sends is bytes.
  terminal.onBinary((text) => onInput(Uint8Array.from(text, (character) => character.charCodeAt(0))));
  terminal.onResize(({ cols, rows }) => onResize({ columns: cols, rows }));
  const watch = new ResizeObserver(() => fit.fit());
  watch.observe(place);
  return {
    size: () => ({ columns: terminal.cols, rows: terminal.rows }),
    write: (bytes) => new Promise((resolve) => terminal.write(bytes, resolve)),
    focus: () => terminal.focus(),
    recolour: () => (terminal.options.theme = themeOf(place)),
    close: () => {
      watch.disconnect();
      terminal.dispose();
      restore();
      document.adoptedStyleSheets = document.adoptedStyleSheets.filter((sheet) => !styles.includes(sheet));
    },
  };
}

/** The colours of the page. */
function themeOf(place: HTMLElement) {
  const { color, backgroundColor, caretColor } = getComputedStyle(place);
  return { foreground: color, background: backgroundColor, cursor: caretColor, selectionBackground: "#7f9fbf66" };
}

/**
 * xterm.js writes rules into elements `style` and into attributes of that name. The page's content security policy forbids both, and permits the same rules as
 * sheets and properties. Until the returned function is called, new elements of the page are such that it writes those.
 */
function replaceInlineStyles(styles: CSSStyleSheet[]): () => void {
  const create = document.createElement.bind(document);
  const createElement = (name: string, options?: ElementCreationOptions): HTMLElement => {
    if (name === "style") return elementWithSheet(create("span"), styles);
    const element = create(name, options);
    element.setAttribute = setWithoutInlineStyle;
    return element;
  };
  document.createElement = createElement;
  return () => Reflect.deleteProperty(document, "createElement");
}

/** In place of an element `style`: its text becomes a sheet of the page. */
function elementWithSheet(element: HTMLElement, styles: CSSStyleSheet[]): HTMLElement {
  const sheet = new CSSStyleSheet();
  styles.push(sheet);
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  element.hidden = true;
  Object.defineProperty(element, "textContent", {
    set: (text: string) => {
      sheet.replaceSync(text);
    },
  });
  return element;
}

function setWithoutInlineStyle(this: HTMLElement, name: string, value: string): void {
  if (name === "style") this.style.cssText = value;
  else Element.prototype.setAttribute.call(this, name, value);
}
