/** One instruction of a Dockerfile, with its continued lines joined. */
export type DockerInstruction = {
  /** In upper case. */
  keyword: string;
  /** What follows the keyword, trimmed; variables and quotes stand as written. */
  args: string;
};

type ParsedDockerfile = {
  instructions: DockerInstruction[];
  /** The character that continues lines and escapes others: set by the directive `# escape=`, a backslash by default. */
  escape: string;
};

/** The largest Dockerfile that is read. Files of authors have a few kilobytes. */
export const MAX_DOCKERFILE_BYTES = 65_536;

/**
 * Splits a Dockerfile into its instructions, as BuildKit's parser does: parser directives, comments, continued lines and here-documents.
 * It reads each character a constant number of times and refuses nothing: `docker build` reports what is wrong with a file.
 */
export function parseInstructions(text: string): ParsedDockerfile {
  const lines = text.replace(/^\uFEFF/, "").split("\n");
  const escape = readEscape(lines);
  const instructions: DockerInstruction[] = [];
  for (let at = 0; at < lines.length;) {
    const first = lineAt(lines, at++).trimStart();
    if (first === "" || first.startsWith("#")) continue;
    const joined: string[] = [];
    for (let line = first; ; line = lineAt(lines, at++)) {
      // Comments and empty lines between continued lines are left out; they do not end the instruction.
      const blank = joined.length > 0 && /^\s*(?:#|$)/.test(line);
      const continued = blank ? undefined : withoutContinuation(line, escape);
      if (!blank) joined.push(continued ?? line);
      if ((!blank && continued === undefined) || at >= lines.length) break;
    }
    const instruction = toInstruction(joined.join("").trim());
    instructions.push(instruction);
    for (const { name, stripTabs } of hereDocuments(instruction, escape)) {
      while (at < lines.length) {
        const line = lineAt(lines, at++);
        if ((stripTabs ? line.replace(/^\t+/, "") : line) === name) break;
      }
    }
  }
  return { instructions, escape };
}

function lineAt(lines: readonly string[], at: number): string {
  const line = lines[at] ?? "";
  return line.endsWith("\r") ? line.slice(0, -1) : line;
}

/** Directives stand before everything else, comments and empty lines included. */
function readEscape(lines: readonly string[]): string {
  for (let at = 0; at < lines.length; at++) {
    const directive = /^#\s*([a-z][a-z0-9]*)\s*=(.*)$/i.exec(lineAt(lines, at).trimStart());
    if (!directive) break;
    if (directive[1]?.toLowerCase() === "escape") return directive[2]?.trim() === "`" ? "`" : "\\";
  }
  return "\\";
}

/** The line without the escape character that ends it; undefined for a line that is not continued. Two of them in a row continue nothing. */
function withoutContinuation(line: string, escape: string): string | undefined {
  let end = line.length;
  while (end > 0 && (line[end - 1] === " " || line[end - 1] === "\t")) end--;
  return line[end - 1] === escape && line[end - 2] !== escape ? line.slice(0, end - 1) : undefined;
}

function toInstruction(line: string): DockerInstruction {
  const at = line.search(/\s/);
  if (at < 0) return { keyword: line.toUpperCase(), args: "" };
  return { keyword: line.slice(0, at).toUpperCase(), args: line.slice(at).trimStart() };
}

const WITH_HERE_DOCUMENTS = new Set(["RUN", "COPY", "ADD", "ONBUILD"]);

/** The here-documents (`<<EOF`, `<<-"EOF"`) that follow an instruction. */
function hereDocuments({ keyword, args }: DockerInstruction, escape: string): { name: string; stripTabs: boolean }[] {
  if (!WITH_HERE_DOCUMENTS.has(keyword) || !args.includes("<<")) return [];
  return splitWords(args, escape).flatMap((word) => {
    const [, dash, quoted = ""] = /^\d*<<(-?)([^<]+)$/.exec(word) ?? [];
    const name = quoted.replaceAll(/["']/g, "");
    return name === "" ? [] : [{ name, stripTabs: dash === "-" }];
  });
}

/** Words between spaces; quotes and escape characters keep spaces together and stay where they are. */
export function splitWords(text: string, escape: string): string[] {
  const words: string[] = [];
  let start = -1;
  let quote = "";
  for (let at = 0; at < text.length; at++) {
    const character = text[at] ?? "";
    if (quote === "" && isSpace(character)) {
      if (start >= 0) words.push(text.slice(start, at));
      start = -1;
      continue;
    }
    if (start < 0) start = at;
    if (character === escape && quote !== "'") at++;
    else if (quote === "" && (character === '"' || character === "'")) quote = character;
    else if (character === quote) quote = "";
  }
  if (start >= 0) words.push(text.slice(start));
  return words;
}

function isSpace(character: string): boolean {
  return character === " " || (character >= "\t" && character <= "\r");
}
