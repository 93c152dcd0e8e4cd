import { createBudget, type DockerInstruction, type Expanded, expandVariables, parseInstructions, splitWords } from "./syntax.ts";

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
