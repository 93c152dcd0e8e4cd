import { advisedFault } from "../advice.ts";
import { type Dockerfile, DockerfileParser, type Instruction } from "dockerfile-ast";

/** What a Dockerfile says about running; how its image is built is passed over. */
export type Recipe = {
  /** Program and arguments: ENTRYPOINT followed by CMD, a shell form as `/bin/sh -c`. */
  command: string[];
  env: Record<string, string>;
  /** Each WORKDIR as it stands, in order: a relative one is below those before it. */
  workdirs: string[];
  /** Exposed TCP ports in the order in which they are named. */
  exposed: number[];
};

/** Reads the final stage, after the stages of the same file that it is made from. Faults: IMAGE_REFERENCE_INVALID. */
export function readDockerfile(text: string): Recipe {
  const dockerfile = DockerfileParser.parse(text);
  const recipe = {
    entrypoint: [] as string[],
    cmd: [] as string[],
    env: {} as Record<string, string>,
    workdirs: [] as string[],
    exposed: [] as number[],
  };
  for (const instruction of finalStage(dockerfile)) READ[instruction.getKeyword()]?.(instruction, recipe);
  const { entrypoint, cmd, ...rest } = recipe;
  // A shell form of ENTRYPOINT takes no arguments: CMD is not for it.
  const command = entrypoint[0] === SHELL[0] && entrypoint.length === 3 ? entrypoint : [...entrypoint, ...cmd];
  if (command.length === 0)
    throw advisedFault("IMAGE_REFERENCE_INVALID", "The Dockerfile names neither CMD nor ENTRYPOINT, so there is nothing to run.");
  return { command, ...rest };
}

const SHELL = ["/bin/sh", "-c"];

type Draft = { entrypoint: string[]; cmd: string[]; env: Record<string, string>; workdirs: string[]; exposed: number[] };

const READ: Partial<Record<string, (instruction: Instruction, draft: Draft) => void>> = {
  ENTRYPOINT: (instruction, draft) => {
    draft.entrypoint = commandOf(instruction);
    draft.cmd = [];
  },
  CMD: (instruction, draft) => {
    draft.cmd = commandOf(instruction);
  },
  WORKDIR: (instruction, draft) => {
    draft.workdirs.push(expand((instruction.getArgumentsContent() ?? "").trim(), draft.env));
  },
  ENV: (instruction, draft) => {
    for (const property of (instruction as unknown as { getProperties(): { getName(): string; getValue(): string | null }[] }).getProperties()) {
      draft.env[property.getName()] = expand(property.getValue() ?? "", draft.env);
    }
  },
  ARG: (instruction, draft) => {
    const [, name, value] = /^([^=\s]+)=["']?(.*?)["']?$/.exec(instruction.getArgumentsContent() ?? "") ?? [];
    if (name !== undefined && draft.env[name] === undefined) draft.env[name] = expand(value ?? "", draft.env);
  },
  EXPOSE: (instruction, draft) => {
    for (const argument of expand(instruction.getArgumentsContent() ?? "", draft.env).split(/\s+/)) {
      const [, first, last, protocol = "tcp"] = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(\w+))?$/.exec(argument) ?? [];
      if (first === undefined || protocol.toLowerCase() !== "tcp") continue;
      for (let port = Number(first); port <= Math.min(Number(last ?? first), 65_535); port++)
        if (!draft.exposed.includes(port)) draft.exposed.push(port);
    }
  },
};

/** The instructions of the last stage, preceded by those of the stage that its FROM names, and so on. */
function finalStage(dockerfile: Dockerfile): Instruction[] {
  const stages: { name: string; from: string; instructions: Instruction[] }[] = [];
  for (const instruction of dockerfile.getInstructions()) {
    if (instruction.getKeyword() === "FROM") {
      const words = instruction.getArguments().map((argument) => argument.getValue());
      const [from = "", as = "", name = ""] = words.filter((word) => !word.startsWith("--"));
      stages.push({ name: as.toLowerCase() === "as" ? name.toLowerCase() : "", from: from.toLowerCase(), instructions: [] });
    } else stages.at(-1)?.instructions.push(instruction);
  }
  const chain: Instruction[] = [];
  for (let at = stages.length - 1; at >= 0;) {
    const stage = stages[at];
    chain.unshift(...(stage?.instructions ?? []));
    at = stages.slice(0, at).findLastIndex(({ name }) => name !== "" && name === stage?.from);
  }
  return chain;
}

function commandOf(instruction: Instruction): string[] {
  const written = (instruction.getArgumentsContent() ?? "").trim();
  if (written.startsWith("[")) {
    try {
      const words: unknown = JSON.parse(written);
      if (Array.isArray(words) && words.every((word) => typeof word === "string")) return words;
    } catch {
      // Docker itself takes a list that is no JSON for a shell line.
    }
  }
  return written === "" ? [] : [...SHELL, written];
}

/** `$NAME`, `${NAME}` and `${NAME:-default}`, as far as a Dockerfile's own ENV and ARG give them. */
function expand(value: string, env: Record<string, string>): string {
  return value.replace(
    /\$(?:(\w+)|\{(\w+)(?::-([^}]*))?\})/g,
    (_, plain: string | undefined, braced = "", fallback = "") => env[plain ?? braced] || fallback,
  );
}
