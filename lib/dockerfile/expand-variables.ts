/** How many characters the variables of one Dockerfile may become in all. `ENV B=$A$A` in each line doubles them otherwise. */
const MAX_EXPANDED_CHARACTERS = 262_144;
/** Of `${a:-${b:-…}}`. */
const MAX_DEPTH = 16;

type ExpandContext = {
  value(name: string): string | undefined;
  escape: string;
  /** Shared by all expansions of one Dockerfile. */
  budget: { left: number };
};

export function createBudget(): ExpandContext["budget"] {
  return { left: MAX_EXPANDED_CHARACTERS };
}

export type Expanded = {
  text: string;
  /** Every variable in it is known, its syntax is supported, and the limits were kept. Otherwise a part of `text` is missing. */
  complete: boolean;
};

/**
 * Puts in variables and takes off quotes and escape characters, as Docker does: `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`,
 * `${NAME:+other}`, `${NAME+other}`, `${NAME:?message}`. The patterns `#`, `%` and `/` are not supported. Values are not expanded again.
 * It reads each character once.
 */
export function expandVariables(text: string, context: ExpandContext): Expanded {
  const { escape, budget } = context;
  let at = 0;
  let complete = true;

  const charge = (value: string): string => {
    if (value.length > budget.left) {
      complete = false;
      return "";
    }
    budget.left -= value.length;
    return value;
  };

  const readName = (): string => {
    const start = at;
    if (/[A-Za-z_]/.test(text[at] ?? "")) while (/\w/.test(text[at] ?? "")) at++;
    else if (/[0-9@*#?!$-]/.test(text[at] ?? "")) at++;
    return text.slice(start, at);
  };

  const readBraced = (depth: number): string => {
    const name = readName();
    const value = context.value(name);
    if (text[at] === "}") {
      at++;
      if (value === undefined) complete = false;
      return charge(value ?? "");
    }
    const colon = text[at] === ":";
    if (colon) at++;
    const operator = text[at++] ?? "";
    if (name === "" || !["-", "+", "?"].includes(operator) || depth >= MAX_DEPTH) {
      // What it means is not known here, nor where it ends.
      complete = false;
      at = text.length;
      return "";
    }
    // The word is read in any case, but counts only where it is taken.
    const before = { left: budget.left, complete };
    const word = readUntil("}", depth + 1);
    const set = colon ? value !== undefined && value !== "" : value !== undefined;
    if (operator === "-" ? !set : operator === "+" && set) return word;
    budget.left = before.left;
    complete = before.complete && (operator !== "?" || set);
    return operator === "+" ? "" : charge(value ?? "");
  };

  const readDollar = (depth: number): string => {
    at++;
    if (text[at] === "{") {
      at++;
      return readBraced(depth);
    }
    const name = readName();
    if (name === "") return "$";
    const value = context.value(name);
    if (value === undefined) complete = false;
    return charge(value ?? "");
  };

  /** From inside double quotes to behind them. */
  const readDoubleQuoted = (depth: number): string => {
    let read = "";
    while (at < text.length && text[at] !== '"') {
      if (text[at] === "$") read += readDollar(depth);
      else {
        if (text[at] === escape && ['"', "$", escape].includes(text[at + 1] ?? "")) at++;
        read += text[at++] ?? "";
      }
    }
    at++;
    return read;
  };

  const readUntil = (stop: string, depth: number): string => {
    let read = "";
    while (at < text.length && text[at] !== stop) {
      const character = text[at] ?? "";
      if (character === "$") read += readDollar(depth);
      else if (character === "'") {
        const end = text.indexOf("'", at + 1);
        read += text.slice(at + 1, end < 0 ? text.length : end);
        at = end < 0 ? text.length : end + 1;
      } else if (character === '"') {
        at++;
        read += readDoubleQuoted(depth);
      } else {
        if (character === escape) at++;
        read += text[at++] ?? "";
      }
    }
    if (stop !== "" && text[at] !== stop) complete = false;
    if (stop !== "") at++;
    return read;
  };

  return { text: readUntil("", 0), complete };
}
