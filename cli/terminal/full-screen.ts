import type { Screen } from "./screen.ts";

/** All of the terminal, until the person leaves: what stood there before comes back. */
type FullScreen = {
  draw(heading: string, table: string): void;
  /** Aborts when the person leaves, by q or Ctrl-C. */
  left: AbortSignal;
  close(): void;
};

/** xterm's: the other screen without a cursor, and back. */
const ENTER = "\u001b[?1049h\u001b[?25l";
const LEAVE = "\u001b[?25h\u001b[?1049l";
const HOME = "\u001b[H";
const CLEAR_LINE = "\u001b[K";
const CLEAR_REST = "\u001b[J";
const CTRL_C = "\u0003";

/** `signal` is Ctrl-C where no key can be read. */
export function openFullScreen(screen: Pick<Screen, "input" | "write" | "width" | "height" | "paint">, signal: AbortSignal): FullScreen {
  const { input: keys } = screen;
  const leaving = new AbortController();
  const onKey = (key: Buffer) => {
    if (/q/i.test(key.toString()) || key.includes(CTRL_C)) leaving.abort();
  };
  if (keys.isTTY) keys.setRawMode(true).on("data", onKey).resume();
  screen.write(ENTER);
  return {
    draw: (heading, table) => {
      const width = screen.width ?? 80;
      const lines = [screen.paint("bold", `${heading}, q leaves`.slice(0, width)), "", ...table.split("\n")];
      screen.write(
        HOME +
          lines
            .slice(0, screen.height - 1)
            .map((line) => `${line}${CLEAR_LINE}\n`)
            .join("") +
          CLEAR_REST,
      );
    },
    left: AbortSignal.any([leaving.signal, signal]),
    close: () => {
      if (keys.isTTY) keys.off("data", onKey).setRawMode(false).pause();
      screen.write(LEAVE);
    },
  };
}
