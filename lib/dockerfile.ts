/** What a Dockerfile's last stage, and the stages of the same file that it is made from, say about the image. */
type FinalStage = {
  /** The image that the first of these stages begins from; undefined: there is no stage. */
  from: string | undefined;
  env: Map<string, string>;
  /** Each WORKDIR in order; a relative one is below those before it. */
  workdirs: string[];
  /** As written; undefined where there is none. */
  entrypoint: string | undefined;
  cmd: string | undefined;
  healthcheck: string | undefined;
  /** By stage, the last stage first: a port that a later stage names goes before those of its base. */
  exposed: ExposedPort[][];
  /** Arguments of EXPOSE beyond the limit; they are not read. */
  unreadPorts: number;
};

/** An application exposes one port, and seldom five. A range counts as one. */
const MAX_PORTS = 1_000;

type Stage = { from: string; base: Stage | undefined; instructions: DockerInstruction[] };

/** Its time is linear in the text. */
export function readFinalStage(text: string): FinalStage {
  const { instructions, escape } = parseInstructions(text);
  const budget = createBudget();
  const expand = (written: string, value: (name: string) => string | undefined): Expanded => expandVariables(written, { value, escape, budget });
  const { last, globals } = readStages(instructions, escape, expand);

  const env = new Map<string, string>();
  const args = new Map<string, string>();
  const value = (name: string) => env.get(name) ?? args.get(name);
  const nothing = { from: undefined, entrypoint: undefined, cmd: undefined, healthcheck: undefined };
  const stage: FinalStage = { ...nothing, env, workdirs: [], exposed: [], unreadPorts: 0 };
  let count = 0;
  let cmdIsOwn = false;

  const readers: Partial<Record<string, (written: string) => void>> = {
    ENV: (written) => {
      // All of one line see the values from before it.
      const set = readPairs(written, escape).map(([name, of]) => [expand(name, value).text, expand(of ?? "", value).text] as const);
      for (const [name, of] of set) env.set(name, of);
    },
    ARG: (written) => {
      for (const word of splitWords(written, escape)) {
        const [name, of] = readPair(word);
        const given = of === undefined ? globals.get(name) : expand(of, value).text;
        if (given !== undefined) args.set(name, given);
      }
    },
    WORKDIR: (written) => void stage.workdirs.push(expand(written, value).text),
    CMD: (written) => {
      stage.cmd = written;
      cmdIsOwn = true;
    },
    ENTRYPOINT: (written) => {
      stage.entrypoint = written;
      // An entrypoint ends what a base gave it as arguments.
      if (!cmdIsOwn) stage.cmd = undefined;
    },
    HEALTHCHECK: (written) => void (stage.healthcheck = written),
    EXPOSE: (written) => {
      for (const argument of words(written)) {
        const { text: expanded, complete } = expand(argument, value);
        for (const word of complete ? words(expanded) : [""]) {
          if (count++ < MAX_PORTS) stage.exposed[0]?.push(parseExposedPort(argument, word));
          else stage.unreadPorts++;
        }
      }
    },
  };

  const chain = chainOf(last);
  stage.from = chain[0]?.from;
  for (const part of chain) {
    stage.exposed.unshift([]);
    cmdIsOwn = false;
    for (const { keyword, args: written } of part.instructions) readers[keyword]?.(written);
  }
  return stage;
}

/** The stages in the order in which they are built, and the ARGs before the first of them, which FROM lines may use. */
function readStages(
  instructions: readonly DockerInstruction[],
  escape: string,
  expand: (written: string, value: (name: string) => string | undefined) => Expanded,
): { last: Stage | undefined; globals: Map<string, string> } {
  const globals = new Map<string, string>();
  const byName = new Map<string, Stage>();
  let last: Stage | undefined;
  let index = 0;
  for (const instruction of instructions) {
    if (instruction.keyword === "FROM") {
      const [image = "", as = "", name = ""] = splitWords(instruction.args, escape).filter((word) => !word.startsWith("--"));
      const from = expand(image, (of) => globals.get(of)).text;
      last = { from, base: byName.get(from.toLowerCase()), instructions: [] };
      byName.set(String(index++), last);
      if (as.toLowerCase() === "as" && name !== "") byName.set(name.toLowerCase(), last);
    } else if (last) last.instructions.push(instruction);
    else if (instruction.keyword === "ARG") {
      for (const word of splitWords(instruction.args, escape)) {
        const [name, of] = readPair(word);
        if (of !== undefined) globals.set(name, expand(of, (other) => globals.get(other)).text);
      }
    }
  }
  return { last, globals };
}

/** From the first to the last. */
function chainOf(last: Stage | undefined): Stage[] {
  const chain: Stage[] = [];
  for (let stage = last; stage; stage = stage.base) chain.push(stage);
  return chain.toReversed();
}

/** `ENV a=1 b=2`, or the older `ENV a 1`, in which the rest of the line is the value. */
function readPairs(written: string, escape: string): [name: string, value: string | undefined][] {
  const pairs = splitWords(written, escape).map(readPair);
  if (pairs[0] === undefined) return [];
  if (pairs[0][1] !== undefined) return pairs;
  return [[pairs[0][0], written.slice(pairs[0][0].length).trimStart()]];
}

function readPair(word: string): [name: string, value: string | undefined] {
  const at = word.indexOf("=");
  return at < 0 ? [word, undefined] : [word.slice(0, at), word.slice(at + 1)];
}

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== "");
}

/** One argument of EXPOSE: a port, or a range of them. */
type ExposedPort = {
  /** As it stands in the file, before variables are put in. */
  written: string;
  /** Undefined for what is no port, or is known only at the build. */
  ports: { first: number; last: number; protocol: "tcp" | "udp" | "sctp" } | undefined;
};

/** `80`, `80/tcp`, `7000-7002`; of `8080:80`, which Docker passes over, the container's own part. */
function parseExposedPort(written: string, word: string): ExposedPort {
  const match = /^(?:[\d.]*:){0,2}(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/i.exec(word.slice(0, 64));
  const first = Number(match?.[1]);
  const last = Number(match?.[2] ?? match?.[1]);
  if (!match || word.length > 64 || first < 1 || last > 65_535 || last < first) return { written, ports: undefined };
  return { written, ports: { first, last, protocol: (match[3] ?? "tcp").toLowerCase() as "tcp" | "udp" | "sctp" } };
}

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

type Expanded = {
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
