import { styleText } from "node:util";

export type Colour = "green" | "red" | "yellow" | "cyan" | "dim" | "bold";

/** Where a command writes: results go to standard output, messages to standard error. */
export type Screen = {
  /** What is typed, or comes through a pipe. */
  input: NodeJS.ReadStream;
  /** Columns of the terminal that standard output is; undefined where it is none, and nothing is cut. */
  width: number | undefined;
  /** Rows of it. */
  height: number;
  /** Standard error is a terminal: a person watches. */
  isInteractive: boolean;
  interactiveWidth: number;
  print(text: string): void;
  /** As `print`, without an end of line. */
  write(text: string): void;
  note(sentence: string): void;
  /** To a terminal that is standard error, for what is written over again. */
  redraw(text: string): void;
  json(value: unknown): void;
  /** Only where standard output is a terminal, and NO_COLOR is not set. */
  paint(colour: Colour, text: string): string;
};

const DEFAULT_WIDTH = 80;
const DEFAULT_HEIGHT = 24;

export function createScreen({ stdin: input, stdout: out, stderr: err }: Pick<NodeJS.Process, "stdin" | "stdout" | "stderr">): Screen {
  return {
    input,
    get width() {
      return out.isTTY ? out.columns || DEFAULT_WIDTH : undefined;
    },
    get height() {
      return out.rows || DEFAULT_HEIGHT;
    },
    // A stream that is none has no such field.
    isInteractive: err.isTTY,
    get interactiveWidth() {
      return err.columns || DEFAULT_WIDTH;
    },
    print: (text) => void out.write(`${text}\n`),
    write: (text) => void out.write(text),
    note: (sentence) => void err.write(`${sentence}\n`),
    redraw: (text) => void err.write(text),
    json: (value) => void out.write(`${JSON.stringify(value, undefined, 2)}\n`),
    paint: (colour, text) => styleText(colour, text, { stream: out }),
  };
}
